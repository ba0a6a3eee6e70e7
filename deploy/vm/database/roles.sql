-- The image runs this once, when the database is made. `app` owns the database and runs the migrations. The service
-- runs as `service`, which can change rows and no table.
\getenv password SERVICE_PASSWORD
CREATE ROLE service LOGIN PASSWORD :'password';
-- Alembic's own table comes first, because the last line would let the service write to it.
CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY);
GRANT SELECT ON alembic_version TO service;
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO service;

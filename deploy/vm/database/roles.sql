-- Run once, by the image, when the database is made. `app` owns it and migrates; `service` is what the service
-- is: it can change rows, and no table.
\getenv password SERVICE_PASSWORD
CREATE ROLE service LOGIN PASSWORD :'password';
-- Alembic's own table, before what follows would let the service write to it.
CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY);
GRANT SELECT ON alembic_version TO service;
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO service;

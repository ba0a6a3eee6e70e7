-- Makes the view in which PostgreSQL counts statements, for postgres_exporter. The image runs this when the database is
-- made. In an older database, run it once as a superuser, after a restart with
-- shared_preload_libraries=pg_stat_statements.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;

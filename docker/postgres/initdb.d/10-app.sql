-- Create the app's role, database and extensions, as DATABASE_URL names them.
--
-- Run by the official image's entrypoint on an empty volume, or by hand, as a superuser:
--   DATABASE_URL=postgres://app:secret@localhost/app psql -f docker/postgres/initdb.d/10-app.sql
-- It can run again: each run sets the role's password to that of DATABASE_URL.

\set ON_ERROR_STOP on
\getenv url DATABASE_URL

SELECT part[1] AS app_role, part[2] AS app_password, part[3] AS app_database
FROM regexp_match(:'url', '^postgres(?:ql)?://([^:@/]+):([^@%]+)@[^/]+/([^/?]+)') AS part
\gset

-- CREATEDB, because the tests create databases.
SELECT format('CREATE ROLE %I', :'app_role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'app_role')
\gexec
ALTER ROLE :"app_role" LOGIN NOSUPERUSER CREATEDB PASSWORD :'app_password';

SELECT format('CREATE DATABASE %I OWNER %I ENCODING ''UTF8'' TEMPLATE template0', :'app_database', :'app_role')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'app_database')
\gexec

-- Create them in template1 too, because the tests' databases are copies of it. If the server lacks an
-- extension, this script only warns: the migration that needs it fails with the same message.
SELECT $$
  SELECT CASE WHEN available.name IS NULL
    THEN format('DO $do$ BEGIN RAISE WARNING ''this server has no extension %s''; END $do$', wanted)
    ELSE format('CREATE EXTENSION IF NOT EXISTS %I', wanted) END
  FROM unnest('{citext,pg_trgm,unaccent}'::text[]) AS wanted
  LEFT JOIN pg_available_extensions AS available ON available.name = wanted
$$ AS create_extensions
\gset
\connect template1
:create_extensions \gexec
\connect :"app_database"
:create_extensions \gexec
-- Log slow statements; `make logs ARGS=postgres` shows them.
ALTER ROLE :"app_role" SET log_min_duration_statement = '250ms';
ALTER SCHEMA public OWNER TO :"app_role";

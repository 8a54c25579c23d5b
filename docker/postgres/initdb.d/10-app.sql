-- Create the roles, the database and its privileges, as two URLs name them: the role of
-- DATABASE_OWNER_URL owns the schema, and the role of DATABASE_URL only reads and writes rows.
--
-- The image's entrypoint runs this file on an empty volume, and `make up` runs it on the volume of an
-- earlier release, whose one role owned everything. docs/database.md runs it on RDS. It needs psql 16
-- and a superuser, or a role with CREATEROLE and CREATEDB. It can run again.
\set ON_ERROR_STOP on
\getenv url DATABASE_URL
\getenv owner_url DATABASE_OWNER_URL
-- Without DATABASE_OWNER_URL, one role does both.
\if :{?owner_url}
\else
  \set owner_url :url
\endif
SET client_min_messages = warning;
-- A role that may create functions in public must not replace those that this script calls.
SET search_path = pg_catalog, pg_temp;
-- Passwords are sent as parameters, so that neither pg_stat_activity nor the log shows them.
SELECT set_config('log_parameter_max_length', '0', false)
WHERE has_parameter_privilege('log_parameter_max_length', 'SET') \g /dev/null

CREATE FUNCTION pg_temp.decoded(text) RETURNS text LANGUAGE sql AS $$
  SELECT convert_from(string_agg(
    CASE WHEN part[1] ~ '^%..' THEN decode(substr(part[1], 2), 'hex') ELSE convert_to(part[1], 'UTF8') END,
    '' ORDER BY place), 'UTF8')
  FROM regexp_matches($1, '%[0-9A-Fa-f]{2}|[^%]+|%', 'g') WITH ORDINALITY AS parts (part, place)
$$;

-- Create the role of a URL unless it exists, set its password, and return the names in the URL.
CREATE FUNCTION pg_temp.ensure_role(variable text, url text, attributes text, OUT role text, OUT database text)
LANGUAGE plpgsql AS $$
DECLARE
  parts text[] := regexp_match(url, '^postgres(?:ql)?://([^:@/]+)(?::([^@/]*))?@[^/]*/([^/?]+)');
BEGIN
  IF parts IS NULL THEN
    RAISE '% must be of the form postgres://user:password@host:port/name.', variable;
  END IF;
  role := pg_temp.decoded(parts[1]);
  database := pg_temp.decoded(parts[3]);
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = role AND rolsuper) THEN
    RAISE '% names a superuser. Name another role; this script creates it.', variable;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
    EXECUTE format('CREATE ROLE %I', role);
  END IF;
  EXECUTE format('ALTER ROLE %I LOGIN %s PASSWORD %L', role, attributes, pg_temp.decoded(parts[2]));
EXCEPTION WHEN OTHERS THEN
  -- Without this, the error's context would contain the statement with the password.
  RAISE '%', SQLERRM;
END
$$;

SELECT role AS app_role, database AS app_database
FROM pg_temp.ensure_role('DATABASE_URL', $1, 'NOCREATEDB') \bind :url \gset
-- CREATEDB, because snapshots and the tests are databases.
SELECT role AS owner_role
FROM pg_temp.ensure_role('DATABASE_OWNER_URL', $1, 'CREATEDB') \bind :owner_url \gset

-- A superuser needs no memberships. The owner becomes a member of the other role, to see and end its sessions.
SELECT format('GRANT %I TO %I', granted, member)
FROM (VALUES (:'owner_role', current_user::text), (:'app_role', :'owner_role')) AS wanted (granted, member)
WHERE NOT (pg_has_role(member, granted, 'USAGE') AND pg_has_role(member, granted, 'SET'))
\gexec

SELECT format('CREATE DATABASE %I OWNER %I ENCODING ''UTF8'' TEMPLATE template0', :'app_database', :'owner_role')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'app_database')
\gexec

-- An ALTER that waits for a table's lock blocks every later reader of the table.
SELECT format('ALTER ROLE %I SET lock_timeout = ''1s''', :'owner_role') WHERE :'owner_role' <> :'app_role'
\gexec
-- Log slow statements, if this role may; `make logs ARGS=postgres` shows them.
SELECT format('ALTER ROLE %I SET log_min_duration_statement = ''250ms''', :'app_role')
WHERE has_parameter_privilege('log_min_duration_statement', 'SET')
\gexec

SELECT rolsuper AS superuser FROM pg_roles WHERE rolname = current_user \gset
SELECT format($sql$
  ALTER DEFAULT PRIVILEGES FOR ROLE %1$I IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %2$I;
  ALTER DEFAULT PRIVILEGES FOR ROLE %1$I IN SCHEMA public GRANT SELECT, USAGE, UPDATE ON SEQUENCES TO %2$I;
$sql$, :'owner_role', :'app_role') AS future_privileges
\gset

-- New databases are copies of template1: those of the tests, and those that a dump is loaded into.
\if :superuser
  \connect template1
  SET search_path = pg_catalog, pg_temp;
  :future_privileges
\endif

\connect :"app_database"
SET client_min_messages = warning;
SET search_path = pg_catalog, pg_temp;
BEGIN;
-- Changing a table's owner locks it, and every later reader waits too. If this fails, run it again.
SET LOCAL lock_timeout = '5s';
SELECT format('ALTER DATABASE %I OWNER TO %I', datname, :'owner_role')
FROM pg_database WHERE datname = current_database() AND pg_get_userbyid(datdba) <> :'owner_role'
\gexec
REASSIGN OWNED BY :"app_role" TO :"owner_role";
REVOKE TEMPORARY ON DATABASE :"app_database" FROM PUBLIC;
-- PostgreSQL 14 and older let every role create tables.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :"app_role";
GRANT SELECT, USAGE, UPDATE ON ALL SEQUENCES IN SCHEMA public TO :"app_role";
:future_privileges
-- The owner creates the extensions, because migrations may have to alter them.
SET LOCAL ROLE :"owner_role";
SELECT CASE WHEN available.name IS NULL
  THEN format('DO $do$ BEGIN RAISE WARNING ''this server has no extension %s''; END $do$', wanted)
  ELSE format('CREATE EXTENSION IF NOT EXISTS %I SCHEMA public', wanted) END
FROM unnest('{citext,pg_trgm,unaccent}'::text[]) AS wanted
LEFT JOIN pg_available_extensions AS available ON available.name = wanted
\gexec
COMMIT;

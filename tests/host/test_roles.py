"""docker/postgres/initdb.d/10-app.sql creates the roles and brings over earlier data.

The tests share one clone's PostgreSQL.
"""

from __future__ import annotations

import string
import subprocess
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from scripts.host.services import postgres_program
from tests.host.clone import Clone
from tests.host.conftest import MakeClone

SCRIPT = "docker/postgres/initdb.d/10-app.sql"
# Every ASCII character that a URL or SQL might treat specially, and others.
PASSWORD = f"{string.punctuation} é𝄞"
USERS = "SELECT count(*) FROM accounts_user"
# The state of the earlier releases: the role of DATABASE_URL owns everything.
ONE_ROLE = """
    REASSIGN OWNED BY methodhub_owner TO methodhub;
    DROP OWNED BY methodhub_owner;
    ALTER ROLE methodhub CREATEDB;
"""
# Everything that the script creates, except passwords. Run in the database itself.
CATALOGUE = (
    "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolcanlogin, rolreplication, "
    "rolbypassrls, rolinherit, setconfig FROM pg_roles LEFT JOIN pg_db_role_setting "
    "ON setrole = pg_roles.oid WHERE starts_with(rolname, {}) ORDER BY rolname",
    "SELECT roleid::regrole::text, member::regrole::text, admin_option, inherit_option, "
    "set_option FROM pg_auth_members WHERE starts_with(member::regrole::text, {}) ORDER BY 1, 2",
    "SELECT datdba::regrole::text, encoding, datallowconn, datconnlimit, datcollate, datacl::text "
    "FROM pg_database WHERE datname = {}",
    "SELECT defaclrole::regrole::text, defaclnamespace::regnamespace::text, defaclobjtype, "
    "defaclacl::text FROM pg_default_acl WHERE {} <> '' ORDER BY 1, 2, 3",
    "SELECT nspowner::regrole::text, nspacl::text FROM pg_namespace "
    "WHERE nspname = 'public' AND {} <> ''",
    "SELECT extname, extowner::regrole::text FROM pg_extension "
    "WHERE extname <> 'plpgsql' AND {} <> '' ORDER BY 1",
)
SLOW_LOG = "log_min_duration_statement=250ms"


class Server:
    """The clone's PostgreSQL."""

    def __init__(self, clone: Clone) -> None:
        self.clone = clone
        self.port = clone.port["postgres"]
        self.superuser = ("postgres", clone.superuser_password)

    def connect(self, login: tuple[str, str], database: str = "postgres") -> psycopg.Connection:
        return self.clone.connect(*login, database)

    def sql(self, statement: str, database: str = "postgres") -> None:
        """Run SQL as the superuser."""
        with self.connect(self.superuser, database) as connection:
            connection.execute(statement.encode())

    def url(self, name: str, password: str = PASSWORD, database: str | None = None) -> str:
        database = database or name.partition("_")[0]
        login = f"{quote(name, safe='')}:{quote(password, safe='')}"
        return f"postgres://{login}@127.0.0.1:{self.port}/{database}"

    def initialise(
        self, login: tuple[str, str], url: str, owner_url: str | None
    ) -> subprocess.CompletedProcess[str]:
        """Run the script by hand, as the given role."""
        user, password = login
        environ = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": user,
            "PGPASSWORD": password,
            "PGDATABASE": "postgres",
            "DATABASE_URL": url,
        }
        if owner_url:
            environ["DATABASE_OWNER_URL"] = owner_url
        psql = [str(postgres_program("psql")), "--no-psqlrc", "--quiet", "--file", SCRIPT]
        return subprocess.run(
            psql, cwd=self.clone.folder, env=environ, capture_output=True, text=True, check=False
        )

    def catalogue(self, name: str) -> str:
        """Return CATALOGUE of one database, with its name replaced."""
        with self.connect(self.superuser, name) as connection:
            rows = [
                connection.execute(sql.SQL(query).format(name)).fetchall() for query in CATALOGUE
            ]
        return "\n".join(str(row) for table in rows for row in table).replace(name, "app")


@pytest.fixture(scope="module")
def server(make_clone: MakeClone) -> Server:
    """PostgreSQL of a clone with three users and a snapshot."""
    clone = make_clone(mcp_hub=False)
    clone.make("fixtures")
    clone.make("db-snapshot", "NAME=before")
    return Server(clone)


@pytest.fixture(scope="module")
def master(server: Server) -> tuple[str, str]:
    """A role such as RDS gives: it creates roles and databases, and is no superuser."""
    server.sql("CREATE ROLE master LOGIN CREATEROLE CREATEDB PASSWORD 'master'")
    return ("master", "master")


def test_superuser_and_master_create_the_same_and_may_run_again(
    server: Server, master: tuple[str, str]
) -> None:
    logins = {"byroot": server.superuser, "bymaster": master}
    first: dict[str, str] = {}
    second: dict[str, str] = {}
    for name, login in logins.items():
        for catalogue in (first, second):
            done = server.initialise(login, server.url(f"{name}_web"), server.url(f"{name}_owner"))
            assert (done.returncode, done.stderr) == (0, "")
            catalogue[name] = server.catalogue(name)
    assert first == second
    # Only a superuser, or a role that was granted it, may set when statements are logged.
    assert SLOW_LOG in first["byroot"]
    assert first["byroot"].replace(f"['{SLOW_LOG}']", "None") == first["bymaster"]
    for part in ("lock_timeout=1s", "'pg_trgm', 'app_owner'", "app_web=arwd/app_owner"):
        assert part in first["bymaster"]


@pytest.mark.parametrize("name", ["byroot", "bymaster"])
def test_both_roles_sign_in_with_any_password(server: Server, name: str) -> None:
    with server.connect((f"{name}_owner", PASSWORD), name) as owner:
        owner.execute("CREATE TABLE IF NOT EXISTS things (id serial, name text)")
    with server.connect((f"{name}_web", PASSWORD), name) as web:
        web.execute("INSERT INTO things (name) VALUES ('a')")
        web.execute("UPDATE things SET name = 'b'")
        web.execute("DELETE FROM things")
        for refused in ("DROP TABLE things", "CREATE TABLE t (i int)", "CREATE TEMP TABLE t ()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                web.execute(refused)


def test_web_role_is_replaced_by_a_second_one(server: Server, master: tuple[str, str]) -> None:
    owner = server.url("bymaster_owner")
    assert server.initialise(master, server.url("bymaster_next"), owner).returncode == 0
    with (
        server.connect(("bymaster_web", PASSWORD), "bymaster") as former,
        server.connect(("bymaster_next", PASSWORD), "bymaster") as following,
    ):
        for web in (former, following):
            assert web.execute("SELECT count(*) FROM things").fetchone() == (0,)
    with server.connect(master, "bymaster") as connection:
        connection.execute("DROP OWNED BY bymaster_web")
        connection.execute("DROP ROLE bymaster_web")
    with server.connect(("bymaster_next", PASSWORD), "bymaster") as following:
        following.execute("INSERT INTO things (name) VALUES ('c')")


def test_passwords_are_neither_logged_nor_printed(server: Server) -> None:
    log = server.clone.folder / ".local/log/postgres.log"
    secret = "Secret'Canary"
    urls = server.url("logged_web", secret), server.url("logged_owner", secret)
    before = len(log.read_text())
    server.sql("ALTER SYSTEM SET log_statement = 'all'")
    server.sql("ALTER SYSTEM SET log_min_duration_statement = 0")
    server.sql("SELECT pg_reload_conf()")
    try:
        created = server.initialise(server.superuser, *urls)
        assert (created.returncode, created.stderr) == (0, "")
    finally:
        server.sql("ALTER SYSTEM RESET ALL")
        server.sql("SELECT pg_reload_conf()")
    # PostgreSQL logs statements that fail.
    failed = server.initialise(("logged_owner", secret), *urls)
    assert "permission denied" in failed.stderr
    logged = log.read_text()[before:]
    assert "ensure_role" in logged
    for text in (logged, created.stdout, created.stderr, failed.stdout, failed.stderr):
        assert "Canary" not in text


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgres://postgres:Canary@h/new", "DATABASE_URL names a superuser. Name another role"),
        ("postgres:Canary", "must be of the form postgres://user:password@host:port/name"),
    ],
)
def test_unusable_url_is_one_sentence(server: Server, url: str, says: str) -> None:
    done = server.initialise(server.superuser, url, server.url("new_owner"))
    assert done.returncode != 0
    assert says in done.stderr
    assert "Canary" not in done.stderr


def test_one_role_may_do_both(server: Server) -> None:
    assert server.initialise(server.superuser, server.url("single"), None).returncode == 0
    with server.connect(("single", PASSWORD), "single") as connection:
        connection.execute("CREATE TABLE things (id integer)")
        assert connection.execute("SHOW lock_timeout").fetchone() == ("0",)


def test_function_in_public_does_not_run_as_superuser(server: Server) -> None:
    r"""\gexec would run its result."""
    assert server.initialise(server.superuser, server.url("planted"), None).returncode == 0
    with server.connect(("planted", PASSWORD), "planted") as web:
        web.execute(
            "CREATE FUNCTION public.format(text, name, text) RETURNS text LANGUAGE sql "
            "AS $$ SELECT 'ALTER ROLE planted SUPERUSER' $$"
        )
    done = server.initialise(server.superuser, server.url("planted"), server.url("planted_owner"))
    with server.connect(server.superuser) as connection:
        query = "SELECT rolsuper FROM pg_roles WHERE rolname = 'planted'"
        assert connection.execute(query).fetchone() == (False,)
    assert (done.returncode, done.stderr) == (0, "")


def one_role(server: Server) -> None:
    """Bring the data back to the state of an earlier release."""
    for database in ("methodhub_snapshot_before", "methodhub"):
        server.sql(ONE_ROLE, database)
    server.sql("DROP OWNED BY methodhub_owner", "template1")
    server.sql("DROP ROLE methodhub_owner")


def owners(server: Server) -> set[str]:
    """Return the owners of the site's tables."""
    query = "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'"
    with server.connect(server.superuser, "methodhub") as connection:
        return {owner for (owner,) in connection.execute(query)}


def test_data_of_an_earlier_release_are_brought_over(server: Server, tmp_path: Path) -> None:
    clone = server.clone
    assert clone.sql(USERS) == [(4,)]
    one_role(server)
    assert owners(server) == {"methodhub"}
    assert "added the role that owns the tables" in clone.make("db-snapshots")
    assert owners(server) == {"methodhub_owner"}
    assert clone.sql(USERS) == [(4,)]
    # A snapshot of the earlier release.
    assert "added the role" not in clone.make("db-restore", "NAME=before")
    assert owners(server) == {"methodhub_owner"}
    dump = tmp_path / "now.dump"
    clone.make("db-dump", f"FILE={dump}")
    clone.make("db-load", f"FILE={dump}", "FORCE=1")
    assert owners(server) == {"methodhub_owner"}
    with server.connect(("methodhub", "methodhub-local"), "methodhub") as web:
        assert web.execute(USERS).fetchone() == (4,)
        web.execute("UPDATE accounts_user SET name = 'Changed'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            web.execute("CREATE TEMPORARY TABLE stray (id integer)")

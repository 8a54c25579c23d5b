"""PostgreSQL connections with a time limit for every wait, with or without a connection pooler.

The time limits of requests are settings of the database role; ``migrate`` sets them. PgBouncer
and RDS Proxy refuse them as startup options. With a pooler, a ``SET`` would affect other clients.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self

import psycopg
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created
from psycopg import errors, sql
from psycopg.abc import PQGen
from psycopg_pool import ConnectionPool

from backends.connection_errors import postgres_problem
from environment.contract import Environment
from environment.services import database_settings

if TYPE_CHECKING:
    from django.db.backends.postgresql.base import DatabaseWrapper

logger = logging.getLogger(__name__)

# Seconds after a reply during which a pooled connection needs no check by a round trip.
TRUSTED_AFTER_REPLY = 0.25
# Seconds that the check of a pooled connection may take, before a request gets the connection.
CHECK_TIMEOUT = 1.0
# Seconds that the client waits for a reply beyond the server's own statement_timeout.
REPLY_GRACE = 1.0
# Milliseconds that a request's transaction may be idle: its locks may keep a migration waiting.
IDLE_IN_TRANSACTION_TIMEOUT = 10_000


class TimeoutConnection(psycopg.Connection[Any]):
    """A connection that stops waiting for a server that does not reply.

    A server whose machine has stalled, or whose packets are lost, sends nothing: neither
    connect_timeout nor statement_timeout nor keepalives end the wait. If the server has not ended
    a statement REPLY_GRACE seconds after statement_timeout, it is not going to reply.
    """

    # Seconds that one round trip may take; None for no limit.
    reply_timeout: float | None = None
    # time.monotonic() at the server's last reply.
    replied_at: float = 0.0
    # Why the last attempt to connect failed, or empty. The errors of a pool do not say it.
    problem: ClassVar[str] = ""

    @classmethod
    def connect(cls, conninfo: str = "", **params: Any) -> Self:
        """Connect. Raises psycopg's OperationalError with the text of postgres_problem."""
        try:
            connection = super().connect(conninfo, **params)
        except psycopg.OperationalError as error:
            TimeoutConnection.problem = postgres_problem(error, params)
            raise psycopg.OperationalError(TimeoutConnection.problem) from error
        TimeoutConnection.problem = ""
        return connection

    def wait[Value](
        self, gen: PQGen[Value], interval: float = 0.1, timeout: float | None = None
    ) -> Value:
        """Wait for a reply. After reply_timeout, close and raise psycopg's OperationalError."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            reply = super().wait(gen, interval, self.reply_timeout)
        except errors._WaitTimeout:  # noqa: SLF001, RUF100 - psycopg has no public name for it
            # If it stayed open, a late reply would be read as the reply to the next statement.
            self.pgconn.finish()
            raise errors.ConnectionTimeout(
                f"PostgreSQL did not reply within {self.reply_timeout} s"
            ) from None
        self.replied_at = time.monotonic()
        return reply


def check_connection(pooled: TimeoutConnection) -> None:
    """Raise psycopg's OperationalError unless an idle connection of the pool works.

    One that was used a moment ago is not asked: that would double the round trips of most pages.
    When a server closes a connection, there is something to read.
    """
    unread = select.poll()
    unread.register(pooled.fileno(), select.POLLIN)
    if time.monotonic() < pooled.replied_at + TRUSTED_AFTER_REPLY and not unread.poll(0):
        return
    reply_timeout, pooled.reply_timeout = pooled.reply_timeout, CHECK_TIMEOUT
    try:
        ConnectionPool.check_connection(pooled)
    finally:
        pooled.reply_timeout = reply_timeout


def _reply_timeout(statement_timeout: float) -> float | None:
    """Return the client's timeout for a server's statement_timeout, both in seconds."""
    return statement_timeout + REPLY_GRACE if statement_timeout else None


def thread_count(env: Environment) -> int:
    """Return the number of threads that run a web process's requests.

    For each pooled connection, five threads can hold it or wait for it (max_waiting). The sixth
    is for views that need none, or that fail at once because too many wait.
    """
    return 6 * env.DATABASE_POOL_SIZE


def pool_options(env: Environment) -> dict[str, Any]:
    """Return the options of the psycopg pool of one web process.

    https://www.psycopg.org/psycopg3/docs/api/pool.html
    """
    timeout = _reply_timeout(env.DATABASE_STATEMENT_TIMEOUT / 1000)
    return {
        "min_size": 1,
        "max_size": env.DATABASE_POOL_SIZE,
        "timeout": env.DATABASE_POOL_TIMEOUT,
        # A request beyond these fails at once, instead of holding a thread.
        "max_waiting": 4 * env.DATABASE_POOL_SIZE,
        # The pool's pauses between connection attempts double, so it stops after a second and
        # starts again. It must start again by itself: requests that timed out still count towards
        # max_waiting, so a full queue would reject every new request, and none would start an
        # attempt.
        "reconnect_timeout": 1.0,
        "reconnect_failed": ConnectionPool.check,
        "connection_class": type("Connection", (TimeoutConnection,), {"reply_timeout": timeout}),
        "check": check_connection,
    }


def request_settings(env: Environment) -> dict[str, Any]:
    """Return DATABASES["default"] for processes that serve requests."""
    return _settings(env) | {
        # An iterator over a server-side cursor would still be reading after its connection went
        # back to the pool, and a transaction pooler cannot keep the cursor.
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }


def use_for_command(database: dict[str, Any], env: Environment) -> None:
    """Change DATABASES["default"] for a management command.

    A command takes as long as it needs, has no pool, and connects to DATABASE_DIRECT_URL if that is
    set.
    """
    database |= _settings(env, env.DATABASE_DIRECT_URL)
    database["OPTIONS"]["pool"] = False
    connection_created.connect(lift_limits)


@contextlib.contextmanager
def connected_as_owner(alias: str, env: Environment) -> Iterator[DatabaseWrapper]:
    """Connect the thread to DATABASE_OWNER_URL for the block, without a pool.

    Without that variable, the block uses the connection as it is.
    """
    before: Any = connections[alias]
    if not env.DATABASE_OWNER_URL:
        yield before
        return
    owner = before.copy()
    owner.settings_dict |= _settings(env, env.DATABASE_OWNER_URL)
    owner.settings_dict["OPTIONS"]["pool"] = False
    connections[alias] = owner
    try:
        yield owner
    finally:
        owner.close()
        connections[alias] = before


def _settings(env: Environment, url: str | None = None) -> dict[str, Any]:
    settings = database_settings(env, url)
    return settings | {
        # A pool instead of persistent connections, which leak under ASGI.
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "application_name": f"methodhub-{env.TARGET}-{socket.gethostname()}",
            "connect_timeout": env.DATABASE_CONNECT_TIMEOUT,
            "pool": pool_options(env),
        }
        # The options of DATABASE_URL override these.
        | settings["OPTIONS"],
    }


def lift_limits(connection: DatabaseWrapper, **_signal: Any) -> None:
    """Lift the role's time limits for a new connection, and allow server-side cursors.

    Behind a pooler it changes nothing, because the pooler would give the changed connection to
    requests. A pooler is recognised by the process number it reports, which is not the backend's.
    """
    server: Any = connection.connection
    direct = server.execute(
        "SELECT set_config('statement_timeout', '0', false), "
        "set_config('lock_timeout', '0', false), "
        "set_config('idle_in_transaction_session_timeout', '0', false) "
        "WHERE pg_backend_pid() = %s",
        [server.info.backend_pid],
    ).fetchone()
    connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = direct is None


def set_role_limits(database: DatabaseWrapper, env: Environment) -> None:
    """Set the time limits of requests on the connection's role, unless they are set already.

    They apply to new connections, including those that a pooler opens. PostgreSQL lets a role
    change its own settings; the owner may not change those of another role. Raises psycopg's
    OperationalError if the role cannot connect.
    """
    limits = {
        "statement_timeout": f"{env.DATABASE_STATEMENT_TIMEOUT}ms",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT}ms",
    }
    with TimeoutConnection.connect(**database.get_connection_params(), autocommit=True) as server:
        rows = server.execute(
            "SELECT unnest(setconfig) FROM pg_db_role_setting "
            "WHERE setrole = quote_ident(current_user)::regrole AND setdatabase = 0"
        )
        present = {setting for (setting,) in rows}
        for name, value in limits.items():
            if f"{name}={value}" not in present:
                statement = sql.SQL("ALTER ROLE CURRENT_USER SET {} = {}")
                # A migrate of another database may set the same limit at the same time.
                with contextlib.suppress(psycopg.InternalError, psycopg.IntegrityError):
                    server.execute(statement.format(sql.Identifier(name), sql.Literal(value)))
    if database.pool:
        # Open connections keep their former limits.
        database.close()
        database.close_pool()


@contextlib.contextmanager
def statement_timeout(seconds: float, using: str = "default") -> Iterator[None]:
    """Run a block as a transaction whose statements may take ``seconds`` each; 0 for no limit.

    For a view with a slow query. ``SET LOCAL statement_timeout`` alone is not enough: the client
    would still stop waiting one second after DATABASE_STATEMENT_TIMEOUT.
    """
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        (before,) = cursor.fetchone() or ("0",)
        set_limit = "SELECT set_config('statement_timeout', %s, true)"
        cursor.execute(set_limit, [f"{round(seconds * 1000)}ms"])
        server: Any = connections[using].connection
        client_before = getattr(server, "reply_timeout", None)
        server.reply_timeout = _reply_timeout(seconds)
        try:
            yield
        finally:
            server.reply_timeout = client_before
        # For the rest of an outer transaction. After an error, the rollback does this.
        cursor.execute(set_limit, [before])


# Whether the session's role has the rights of the role that owns the tables.
OWNS_TABLES = """
    SELECT coalesce(bool_or(pg_has_role(relowner, 'USAGE')), false)
    FROM pg_class WHERE relname = 'django_migrations'
"""


def connections_needed(env: Environment) -> int:
    """Return how many connections all replicas may open: the pools, and one each for the probes."""
    return env.REPLICAS * env.WORKERS * (env.DATABASE_POOL_SIZE + 1)


def warn_about_server(env: Environment) -> None:
    """Log a warning when PostgreSQL's settings do not fit the environment.

    Checks the role's rights, its statement_timeout and, unless a pooler is in between,
    max_connections. Logs why if it cannot connect.
    """
    try:
        with TimeoutConnection.connect(**connection.get_connection_params()) as server:
            allowed, reserved, statement_timeout, direct = server.execute(
                "SELECT current_setting('max_connections')::int, "
                "current_setting('superuser_reserved_connections')::int "
                "+ current_setting('reserved_connections')::int, "
                "(SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'), "
                "pg_backend_pid() = %s",
                [server.info.backend_pid],
            ).fetchall()[0]
            [(owns_tables,)] = server.execute(OWNS_TABLES).fetchall()
    except psycopg.Error as error:
        logger.warning("PostgreSQL is away: %s", error)
        return
    if owns_tables:
        logger.warning(
            "web's database role owns the tables, so a flaw in the site could drop them. Give the "
            "tables to a role of their own, as docs/database.md describes."
        )
    if statement_timeout != env.DATABASE_STATEMENT_TIMEOUT:
        logger.warning(
            "The database role ends a statement after %d ms, but DATABASE_STATEMENT_TIMEOUT is %d. "
            "Run migrate with the same DATABASE_STATEMENT_TIMEOUT.",
            statement_timeout,
            env.DATABASE_STATEMENT_TIMEOUT,
        )
    needed = connections_needed(env)
    if direct and needed > allowed - reserved:
        logger.warning(
            "The replicas may open more connections than PostgreSQL allows: REPLICAS %d x "
            "WORKERS %d x (DATABASE_POOL_SIZE %d + 1 for the probes) = %d, but "
            "max_connections %d - %d reserved = %d. Lower DATABASE_POOL_SIZE or raise "
            "max_connections.",
            env.REPLICAS,
            env.WORKERS,
            env.DATABASE_POOL_SIZE,
            needed,
            allowed,
            reserved,
            allowed - reserved,
        )

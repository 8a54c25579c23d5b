"""PostgreSQL in the service of requests: no answer is waited for without end."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
from django.db import connection
from psycopg import errors
from psycopg.abc import PQGen
from psycopg_pool import ConnectionPool

from environment.contract import Environment

logger = logging.getLogger(__name__)

# Seconds that an idle connection has to show that it works, before a request gets it.
CHECK_TIMEOUT = 1.0
# Seconds that the client waits for an answer beyond the server's own statement_timeout.
GRACE = 1.0


class ImpatientConnection(psycopg.Connection[Any]):
    """A connection that gives up a server which is there but does not answer.

    When PostgreSQL's machine stalls or its packets vanish, its kernel or nobody answers TCP, and
    neither connect_timeout nor statement_timeout nor keepalives end the wait. A statement that the
    server did not end by itself, GRACE seconds after statement_timeout, never will.
    """

    # Seconds one round trip may take; None for no limit.
    patience: float | None = None

    def wait[Value](
        self, gen: PQGen[Value], interval: float = 0.1, timeout: float | None = None
    ) -> Value:
        """Wait for the server; raises OperationalError, and closes, when patience ends."""
        if timeout is not None or self.patience is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience)
        except errors._WaitTimeout:  # psycopg has no public name for it
            # The answer may still come, and would be taken for that to the next question.
            self.pgconn.finish()
            raise errors.ConnectionTimeout(
                f"PostgreSQL did not answer within {self.patience} s"
            ) from None


def check_connection(pooled: ImpatientConnection) -> None:
    """Raise an error unless an idle connection of the pool works."""
    patience, pooled.patience = pooled.patience, CHECK_TIMEOUT
    try:
        ConnectionPool.check_connection(pooled)
    finally:
        pooled.patience = patience


def threads(env: Environment) -> int:
    """Return how many synchronous views a process runs at once.

    Those that hold a connection, those that may wait for one (see max_waiting), and as many again
    that are told at once that there is none, or need none: so a crowd does not queue up while
    PostgreSQL is away.
    """
    return 6 * env.DATABASE_POOL_SIZE


def pool(env: Environment) -> dict[str, Any]:
    """Return the options of the psycopg pool of one web process.

    https://www.psycopg.org/psycopg3/docs/api/pool.html
    """
    limit = env.DATABASE_STATEMENT_TIMEOUT
    patience = limit / 1000 + GRACE if limit else None
    return {
        "min_size": 1,
        "max_size": env.DATABASE_POOL_SIZE,
        "timeout": env.DATABASE_POOL_TIMEOUT,
        # Who comes when this many wait already is told so at once, instead of holding a thread.
        "max_waiting": 4 * env.DATABASE_POOL_SIZE,
        # The pool's pauses between attempts double; giving up early keeps them at a second. Then
        # the pool must try anew by itself: those who waited in vain still count as waiting, so that
        # a full queue would turn everybody away, and with nobody let in no attempt would be made.
        "reconnect_timeout": 1.0,
        "reconnect_failed": ConnectionPool.check,
        "connection_class": type("Connection", (ImpatientConnection,), {"patience": patience}),
        "check": check_connection,
    }


def without_limits(options: dict[str, Any]) -> dict[str, Any]:
    """Return a database's OPTIONS for what is no request: no statement_timeout, no pool."""
    # Of several -c the last counts.
    return options | {"options": f"{options['options']} -c statement_timeout=0", "pool": False}


def connections_needed(env: Environment) -> int:
    """Return how many connections all replicas hold at most: the pools, and one for the probes."""
    return env.REPLICAS * env.WORKERS * (env.DATABASE_POOL_SIZE + 1)


def warn_if_too_many(env: Environment) -> None:
    """Log a warning when PostgreSQL allows fewer connections than all replicas may open.

    Says nothing when PostgreSQL cannot be asked: readiness says that already.
    """
    try:
        with psycopg.connect(**connection.get_connection_params()) as server:
            row = server.execute(
                "SELECT current_setting('max_connections')::int, "
                "current_setting('superuser_reserved_connections')::int "
                "+ current_setting('reserved_connections')::int"
            ).fetchone()
    except psycopg.Error:
        return
    allowed, reserved = row or (0, 0)
    needed = connections_needed(env)
    if needed > allowed - reserved:
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

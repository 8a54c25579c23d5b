"""The state behind /readyz: whether a load balancer should send requests to this process.

Readiness covers faults that another replica may not have: the process drains, its code is newer
than the database, or it cannot reach PostgreSQL. It ignores faults that all replicas share, such as
a busy connection pool, a lock that blocks every query, or Redis being away. If such a fault made
all replicas unready, the balancer would gain nothing, and ECS would replace tasks that are not at
fault. The answer reports the pool as information, for people and monitoring.

A PostgreSQL outage also makes all replicas unready. That is safe: a load balancer whose targets are
all unhealthy sends requests to all of them, and ECS does not stop a task before its replacement is
healthy.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from django.core.cache import cache
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

from backends.database import TimeoutConnection

if TYPE_CHECKING:
    from django.db.backends.postgresql.base import DatabaseWrapper

logger = logging.getLogger(__name__)

# Seconds that a check is valid, so that the probes of many balancers cost one query.
CACHE_TTL = 5.0
# The same while PostgreSQL is away: shorter, so that its return is noticed soon.
CACHE_TTL_WHEN_DOWN = 1.0
# Seconds that a probe waits for a check. Load balancers time out after 2 to 5 seconds.
PROBE_TIMEOUT = 2.0


class Services(NamedTuple):
    """The state of the backing services at one check."""

    postgres: str
    migrations: str
    redis: str


UNKNOWN = Services("down", "unknown", "degraded")


class State:
    """The readiness of this process; checks the backing services when the last check is too old.

    Checks run one at a time in their own thread, on their own database connection. So neither an
    exhausted pool nor blocked requests make a working process look broken.
    """

    def __init__(self) -> None:
        # Set on SIGTERM, and never cleared: a process that drains will exit.
        self.draining = threading.Event()
        self._executor = ThreadPoolExecutor(1, "probes")
        self._check: Future[Services] | None = None
        self._services = UNKNOWN
        self._valid_until = 0.0
        self._migrated = False
        self._problem = ""
        self._database: DatabaseWrapper | None = None

    async def read(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the balancer should send requests here, and the details."""
        draining = self.draining.is_set()
        if not draining and time.monotonic() >= self._valid_until:
            await self._refresh()
        services = self._services
        ready = services.postgres == "up" and services.migrations == "applied" and not draining
        return ready, {**services._asdict(), "draining": draining, "pool": _pool_state()}

    async def _refresh(self) -> None:
        if self._check is None:
            self._check = self._executor.submit(self._check_services)
        check = self._check
        await asyncio.wait([asyncio.wrap_future(check)], timeout=PROBE_TIMEOUT)
        if not check.done():
            self._services = UNKNOWN
            return
        # Several probes may wait for the same check. The first one to resume stores its result.
        if check is self._check:
            self._check = None
            self._services = check.result()
            ttl = CACHE_TTL if self._services.postgres == "up" else CACHE_TTL_WHEN_DOWN
            self._valid_until = time.monotonic() + ttl

    def _log_postgres(self, problem: str) -> None:
        """Log why PostgreSQL is away, once for each cause, and its return; "" for no problem."""
        if problem == self._problem:
            return
        self._problem = problem
        if problem:
            logger.warning("PostgreSQL is away: %s", problem)
        else:
            logger.info("PostgreSQL answers again.")

    def _check_services(self) -> Services:
        return Services(*self._check_postgres(), self._check_redis())

    def _check_postgres(self) -> tuple[str, str]:
        if self._database is None:
            self._database = cast("DatabaseWrapper", connection.copy("probes"))
            options = self._database.settings_dict["OPTIONS"]
            if options["pool"]:
                options["pool"] |= {"min_size": 0, "max_size": 1, "timeout": 1.0, "num_workers": 1}
            # For this thread only: Django's migration code looks a connection up by its alias.
            connections["probes"] = self._database
        database = self._database
        try:
            if self._migrated:
                with database.cursor() as cursor:
                    cursor.execute("SELECT 1")
            else:
                # The code of a running process does not change, so one positive check is enough.
                executor = MigrationExecutor(database)
                self._migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        except Exception as error:  # noqa: BLE001 - whatever the error is, PostgreSQL is not usable
            self._log_postgres(TimeoutConnection.problem or str(error))
            return "down", "unknown"
        finally:
            database.close()
        self._log_postgres("")
        return "up", "applied" if self._migrated else "pending"

    def _check_redis(self) -> str:
        # The cache's own methods hide failures (IGNORE_EXCEPTIONS); the client's ping raises.
        try:
            cache.client.get_client().ping()  # type: ignore[attr-defined]
        except Exception:  # noqa: BLE001 - whatever the error is, Redis is not usable
            return "degraded"
        return "up"

    def close(self) -> None:
        """Stop the thread and close the connection."""
        self._executor.shutdown()
        if self._database is not None:
            self._database.close_pool()


def _pool_state() -> dict[str, int] | None:
    """Return how many connections requests hold and wait for; None without a pool."""
    pool = cast("DatabaseWrapper", connection).pool
    if pool is None:
        return None
    stats = pool.get_stats()
    return {
        "max": stats["pool_max"],
        "size": stats["pool_size"],
        "idle": stats["pool_available"],
        "waiting": stats["requests_waiting"],
    }


STATE = State()

"""What readiness depends on: the backing services, as last seen, and whether the process drains."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from django.core.cache import cache
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

if TYPE_CHECKING:
    from django.db.backends.postgresql.base import DatabaseWrapper

# Seconds a look is good for, so that the probes of many balancers cost one query; less while
# PostgreSQL is away, so that its return is soon seen.
KEEP = 5.0
KEEP_DOWN = 1.0
# Seconds a probe waits for a look: balancers give up after 2 to 5.
PATIENCE = 2.0


class Seen(NamedTuple):
    """The backing services at one look."""

    postgres: str
    migrations: str
    redis: str


UNKNOWN = Seen("down", "unknown", "degraded")


class State:
    """What this process knows, and looks up again when that is too old.

    Looks run one at a time in a thread of their own, on a connection of their own: neither a busy
    pool nor hanging requests can make a working process look broken.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        # Set on SIGTERM; never cleared, since a process that drains ends.
        self.draining = threading.Event()
        self._thread = ThreadPoolExecutor(1, "probes")
        self._look: Future[Seen] | None = None
        self._seen = UNKNOWN
        self._until = 0.0
        self._migrated = False
        self._database: DatabaseWrapper | None = None

    async def read(self) -> tuple[bool, dict[str, Any]]:
        """Return whether requests should come here, and why."""
        draining = self.draining.is_set()
        if not draining and time.monotonic() >= self._until:
            await self._look_again()
        seen = self._seen
        ready = seen.postgres == "up" and seen.migrations == "applied" and not draining
        return ready, {**seen._asdict(), "draining": draining}

    async def _look_again(self) -> None:
        if self._look is None:
            self._look = self._thread.submit(self._ask)
        look = self._look
        await asyncio.wait([asyncio.wrap_future(look)], timeout=PATIENCE)
        if not look.done():
            self._seen = UNKNOWN
            return
        if look is self._look:
            self._look = None
            self._seen = look.result()
            keep = KEEP if self._seen.postgres == "up" else KEEP_DOWN
            self._until = time.monotonic() + keep

    def _ask(self) -> Seen:
        return Seen(*self._ask_postgres(), self._ask_redis())

    def _ask_postgres(self) -> tuple[str, str]:
        if self._database is None:
            self._database = cast("DatabaseWrapper", connection.copy("probes"))
            options = self._database.settings_dict["OPTIONS"]
            if options["pool"]:
                options["pool"] |= {"min_size": 0, "max_size": 1, "timeout": 1.0, "num_workers": 1}
            # In this thread alone; Django's migrations look it up by its alias.
            connections["probes"] = self._database
        database = self._database
        try:
            if self._migrated:
                with database.cursor() as cursor:
                    cursor.execute("SELECT 1")
            else:
                # Migrations do not become pending while a process runs: applied once is enough.
                executor = MigrationExecutor(database)
                self._migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not up
            return "down", "unknown"
        finally:
            database.close()
        return "up", "applied" if self._migrated else "pending"

    def _ask_redis(self) -> str:
        # IGNORE_EXCEPTIONS hides failures of the cache's own methods; the client's ping tells.
        try:
            cache.client.get_client().ping()  # type: ignore[attr-defined]
        except Exception:  # noqa: BLE001 - as above
            return "degraded"
        return "up"

    def close(self) -> None:
        """Let go of thread and connection."""
        self._thread.shutdown()
        if self._database is not None:
            self._database.close_pool()


STATE = State()

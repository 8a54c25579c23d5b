"""What a load balancer and a scheduler ask."""

from __future__ import annotations

import threading
import time
from typing import Any

from django.core.cache import cache
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse

# Seconds an answer about the backing services is kept: probes of many balancers cost one query.
KEEP = 5.0


def livez(_request: HttpRequest) -> HttpResponse:
    """Say that the process answers: no I/O, so that no backing service can have it killed."""
    return HttpResponse("ok\n", content_type="text/plain", headers={"Cache-Control": "no-store"})


def readyz(_request: HttpRequest) -> HttpResponse:
    """Say whether this process should be sent requests: 200 or 503, and why, as JSON."""
    state = STATE.read()
    ready = state["postgres"] == "up" and state["migrations"] == "applied" and not state["draining"]
    return JsonResponse(
        {"ready": ready, **state},
        status=200 if ready else 503,
        headers={"Cache-Control": "no-store"},
    )


class State:
    """The backing services as last seen, and whether this process is on its way out."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.draining = False
        self._lock = threading.Lock()
        self._seen: dict[str, Any] = {}
        self._until = 0.0
        self._migrated = False

    def forget(self) -> None:
        """Look again at the next question."""
        self._until = 0.0
        self._migrated = False

    def read(self) -> dict[str, Any]:
        """Return postgres, redis, migrations and draining, at most KEEP seconds old."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._seen = self._look()
                self._until = time.monotonic() + KEEP
            return {**self._seen, "draining": self.draining}

    def _look(self) -> dict[str, Any]:
        return {**self._postgres(), "redis": self._redis()}

    def _postgres(self) -> dict[str, str]:
        try:
            if self._migrated:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
            else:
                # Migrations do not become pending while a process runs: one look is enough.
                executor = MigrationExecutor(connection)
                self._migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        except Exception:  # noqa: BLE001, RUF100 - whatever is wrong with it, it is not up
            return {"postgres": "down", "migrations": "unknown"}
        finally:
            connection.close()
        return {"postgres": "up", "migrations": "applied" if self._migrated else "pending"}

    def _redis(self) -> str:
        # IGNORE_EXCEPTIONS hides failures of the cache's own methods; the client's ping tells.
        try:
            cache.client.get_client().ping()  # type: ignore[attr-defined]
        except Exception:  # noqa: BLE001, RUF100 - as above
            return "degraded"
        return "up"


STATE = State()

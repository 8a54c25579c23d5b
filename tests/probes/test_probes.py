"""The probes, through the served application, against the real PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from backends.database import connected_as_owner
from config.asgi import application
from probes.asgi import Probes
from probes.state import State


class Probe:
    """The response to one request."""

    def __init__(self, app: Any, path: str, method: str = "GET", host: str = "10.0.3.7") -> None:
        """Send a request as a load balancer does: plain HTTP, with the target's address as Host."""
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", host.encode())],
            "client": ("10.0.0.1", 50000),
        }

        async def ask() -> None:
            communicator = ApplicationCommunicator(app, scope)
            await communicator.send_input({"type": "http.request", "body": b""})
            start = await communicator.receive_output(5)
            self.status: int = start["status"]
            self.headers = dict(start["headers"])
            self.body: bytes = (await communicator.receive_output(5))["body"]
            await communicator.wait(5)

        asyncio.run(ask())


@pytest.fixture
def state() -> Iterator[State]:
    """A state that has not checked anything yet."""
    state = State()
    yield state
    state.close()


@pytest.fixture
def pending(transactional_db: None) -> Iterator[None]:
    """Make the newest migration of an app look unapplied."""
    recorder = MigrationRecorder(connection)
    (newest,) = MigrationLoader(connection).graph.leaf_nodes("accounts")
    recorder.record_unapplied(*newest)
    yield
    recorder.record_applied(*newest)


@pytest.fixture
def postgres_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the database at a port where nothing listens."""
    monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")


STATES = list(
    itertools.product(("up", "down"), ("up", "degraded"), ("applied", "pending"), (False, True))
)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("postgres", "redis", "migrations", "draining"), STATES)
def test_readiness_needs_postgres_and_migrations_and_no_drain(
    state: State,
    request: pytest.FixtureRequest,
    postgres: str,
    redis: str,
    migrations: str,
    draining: bool,
) -> None:
    if migrations == "pending":
        request.getfixturevalue("pending")
    if redis == "degraded":
        request.getfixturevalue("redis_away")
    if postgres == "down":
        request.getfixturevalue("postgres_away")
    if draining:
        # A draining process has answered readiness checks before.
        Probe(Probes(application, state), "/readyz")
        state.draining.set()
    response = Probe(Probes(application, state), "/readyz")
    body = json.loads(response.body)
    assert body.pop("pool")["waiting"] == 0
    assert body == {
        "ready": postgres == "up" and migrations == "applied" and not draining,
        "postgres": postgres,
        "migrations": migrations if postgres == "up" else "unknown",
        "redis": redis,
        "draining": draining,
    }
    assert response.status == (200 if body["ready"] else 503)
    assert response.headers[b"cache-control"] == b"no-store"
    assert response.headers[b"content-type"] == b"application/json"
    assert Probe(Probes(application, state), "/livez").status == 200


@pytest.mark.django_db(transaction=True)
def test_draining_shows_before_the_last_check_expires(state: State) -> None:
    assert Probe(Probes(application, state), "/readyz").status == 200
    state.draining.set()
    assert Probe(Probes(application, state), "/readyz").status == 503


@pytest.mark.django_db(transaction=True)
def test_probes_at_once_share_a_check(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    check, checks = state._check_services, itertools.count()
    monkeypatch.setattr(state, "_check_services", lambda: next(checks) or check())

    async def read_twice() -> list[tuple[bool, dict[str, Any]]]:
        return [*await asyncio.gather(state.read(), state.read())]

    first, second = asyncio.run(read_twice())
    assert first == second
    assert first[0]
    assert next(checks) == 1


@pytest.mark.django_db(transaction=True)
def test_second_probe_reuses_the_last_check(
    state: State, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PostgreSQL is up.
    monkeypatch.setattr("probes.state.CACHE_TTL_WHEN_DOWN", 0)
    assert Probe(Probes(application, state), "/readyz").status == 200
    request.getfixturevalue("redis_away")
    # Another check would report that Redis is away.
    assert json.loads(Probe(Probes(application, state), "/readyz").body)["redis"] == "up"


@pytest.mark.django_db(transaction=True)
def test_readiness_without_a_pool(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.close()
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "pool", False)
    monkeypatch.setattr("probes.state.CACHE_TTL", 0)
    for _ in range(2):
        response = Probe(Probes(application, state), "/readyz")
        assert response.status == 200
        assert json.loads(response.body)["pool"] is None


@contextmanager
def postgres_refusing_connections() -> Iterator[None]:
    """End all connections to the test database, and allow no new ones, as in a failover."""
    name = connection.settings_dict["NAME"]
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]
    with connected_as_owner("default", settings.ENV) as owner:
        params = owner.get_connection_params() | {"dbname": "postgres"}
    with psycopg.connect(**params, autocommit=True) as server:
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
            yield
        finally:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


@pytest.mark.django_db(transaction=True)
def test_return_of_postgres_is_noticed_within_five_seconds(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "probes")
    with postgres_refusing_connections():
        assert Probe(Probes(application, state), "/readyz").status == 503
    end = time.monotonic() + 5
    while Probe(Probes(application, state), "/readyz").status != 200:
        assert time.monotonic() < end
        time.sleep(0.05)
    away, back = [record.getMessage() for record in caplog.records]
    assert away.startswith("PostgreSQL is away: ")
    assert back == "PostgreSQL answers again."


@pytest.mark.django_db(transaction=True)
def test_exhausted_pool_is_reported_and_leaves_the_process_ready(state: State) -> None:
    pool = connection.pool  # type: ignore[attr-defined]
    connection.ensure_connection()
    connection.close()
    held = [pool.getconn(timeout=10) for _ in range(pool.max_size)]
    waiter = threading.Thread(target=lambda: held.append(pool.getconn(timeout=30)))
    waiter.start()
    try:
        end = time.monotonic() + 10
        while not pool.get_stats()["requests_waiting"]:
            assert time.monotonic() < end
            time.sleep(0.01)
        response = Probe(Probes(application, state), "/readyz")
        assert response.status == 200
        size = pool.max_size
        assert json.loads(response.body)["pool"] == {
            "max": size,
            "size": size,
            "idle": 0,
            "waiting": 1,
        }
    finally:
        pool.putconn(held.pop())
        waiter.join()
        for each in held:
            pool.putconn(each)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_head_has_the_headers_of_get_and_no_body(state: State, path: str) -> None:
    get, head = (Probe(Probes(application, state), path, method) for method in ("GET", "HEAD"))
    assert get.status == head.status == 200
    assert get.headers == head.headers
    assert get.headers[b"content-length"] == str(len(get.body)).encode()
    assert head.body == b""


def test_liveness_is_plain_text(state: State) -> None:
    response = Probe(Probes(application, state), "/livez")
    assert (response.headers[b"content-type"], response.body) == (b"text/plain", b"ok\n")


@pytest.mark.waits
@pytest.mark.django_db(transaction=True)
def test_readiness_answers_before_a_slow_check_ends(state: State) -> None:
    """Load balancers time out after 2 to 5 seconds."""
    with connected_as_owner("default", settings.ENV) as owner, owner.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE django_migrations")
        start = time.monotonic()
        response = Probe(Probes(application, state), "/readyz")
        assert time.monotonic() - start < 2.5
        assert response.status == 503
        cursor.execute("ROLLBACK")
    body = json.loads(response.body)
    assert (body["postgres"], body["migrations"]) == ("down", "unknown")
    assert body["redis"] == "degraded"


@pytest.mark.parametrize(("path", "method"), [("/livez", "POST"), ("/livez/", "GET"), ("/", "GET")])
def test_only_the_probes_skip_host_validation(path: str, method: str, state: State) -> None:
    assert Probe(Probes(application, state), path, method, "no.such.host").status == 400

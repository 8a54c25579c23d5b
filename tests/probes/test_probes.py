"""The probes, against the real PostgreSQL and Redis, through the application that is served."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from config.asgi import application
from probes.asgi import Probes
from probes.state import State


class Asked:
    """The answer to one request, as an ASGI server sees it."""

    def __init__(self, app: Any, path: str, method: str = "GET", host: str = "10.0.3.7") -> None:
        """Ask as a load balancer does: its target's address as Host, and plain http."""
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
def fresh() -> Iterator[State]:
    """A state that has not looked yet."""
    made = State()
    yield made
    made.close()


@pytest.fixture
def pending(transactional_db: None) -> Iterator[None]:
    """A database that lacks the newest migration of an app."""
    recorder = MigrationRecorder(connection)
    (newest,) = MigrationLoader(connection).graph.leaf_nodes("accounts")
    recorder.record_unapplied(*newest)
    yield
    recorder.record_applied(*newest)


@pytest.fixture
def postgres_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens where PostgreSQL should."""
    monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")


STATES = list(
    itertools.product(("up", "down"), ("up", "degraded"), ("applied", "pending"), (False, True))
)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("postgres", "redis", "migrations", "draining"), STATES)
def test_readiness(
    fresh: State,
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
        # A process that drains has looked before.
        Asked(Probes(application, fresh), "/readyz")
        fresh.draining.set()
    answer = Asked(Probes(application, fresh), "/readyz")
    assert json.loads(answer.body) == {
        "ready": postgres == "up" and migrations == "applied" and not draining,
        "postgres": postgres,
        "migrations": migrations if postgres == "up" else "unknown",
        "redis": redis,
        "draining": draining,
    }
    assert answer.status == (200 if json.loads(answer.body)["ready"] else 503)
    assert answer.headers[b"cache-control"] == b"no-store"
    assert Asked(Probes(application, fresh), "/livez").status == 200


@pytest.mark.django_db(transaction=True)
def test_draining_shows_without_another_look(fresh: State) -> None:
    assert Asked(Probes(application, fresh), "/readyz").status == 200
    fresh.draining.set()
    assert Asked(Probes(application, fresh), "/readyz").status == 503


@pytest.mark.django_db(transaction=True)
def test_many_probes_cost_one_look(fresh: State, request: pytest.FixtureRequest) -> None:
    assert Asked(Probes(application, fresh), "/readyz").status == 200
    request.getfixturevalue("redis_away")
    # A second look would see that Redis is away.
    assert json.loads(Asked(Probes(application, fresh), "/readyz").body)["redis"] == "up"


def test_head_is_answered_like_get_without_the_body(fresh: State) -> None:
    answer = Asked(Probes(application, fresh), "/livez", "HEAD")
    assert (answer.status, answer.headers[b"content-length"], answer.body) == (200, b"3", b"")


@pytest.mark.parametrize(("path", "method"), [("/livez", "POST"), ("/livez/", "GET"), ("/", "GET")])
def test_only_the_probes_pass_by_host_validation(path: str, method: str, fresh: State) -> None:
    assert Asked(Probes(application, fresh), path, method, "no.such.host").status == 400

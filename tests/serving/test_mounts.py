"""ASGI applications beside Django: their requests, lifespans, database calls and import errors."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from pytest_django import Settings

from accounts.models import User
from serving.mounts import THREADS, Mounts, load_or_exit

CROWD = 40


async def django(_scope: Any, _receive: Any, send: Any) -> None:
    """An application in Django's place."""
    await respond(send, "django")


async def mounted(scope: Any, _receive: Any, send: Any) -> None:
    """An application that returns what it sees of the request."""
    await respond(send, f"{scope['root_path']} {scope['path']} {scope['scheme']}")


async def respond(send: Any, text: str) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


async def get(application: Any, path: str, host: str = "localhost", **headers: str) -> str:
    """Return the body of the response."""
    fields = {"host": host} | {name.replace("_", "-"): text for name, text in headers.items()}
    communicator = ApplicationCommunicator(
        application,
        {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "scheme": "http",
            "headers": [(name.encode(), text.encode()) for name, text in fields.items()],
        },
    )
    await communicator.send_input({"type": "http.request", "body": b""})
    assert (await communicator.receive_output(5))["status"] == 200
    body: bytes = (await communicator.receive_output(5))["body"]
    await communicator.wait()
    return body.decode()


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/mcp", "/mcp /mcp/ http"),
        ("/mcp/", "/mcp /mcp/ http"),
        ("/mcp/tools", "/mcp /mcp/tools http"),
        ("/mcp/things/tools", "/mcp/things /mcp/things/tools http"),
        ("/mcpx", "django"),
        ("/", "django"),
    ],
)
def test_path_below_the_prefix_reaches_the_application(path: str, seen: str) -> None:
    site = Mounts(django, {"/mcp": mounted, "/mcp/things": mounted})
    assert asyncio.run(get(site, path)) == seen


def test_application_gets_only_requests_that_django_would_accept(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["example.com"]
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    site = Mounts(django, {"/mcp": mounted})

    def answer(host: str, scheme: str) -> str:
        return asyncio.run(get(site, "/mcp", host, x_forwarded_proto=scheme))

    assert answer("example.com", "https") == "/mcp /mcp/ https"
    assert answer("example.com", "http") == "django"
    assert answer("evil.example", "https") == "django"


# -- lifespans ------------------------------------------------------------------------------------


def lifespan(log: list[str], name: str, *, fails_in: str = "") -> Any:
    """Return an application that logs its lifespan and answers with the state it set."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await respond(send, scope["state"]["name"])
            return
        for phase in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{phase}"
            log.append(f"{name} {phase}")
            scope["state"]["name"] = name
            result = "failed" if phase == fails_in else "complete"
            await send({"type": f"lifespan.{phase}.{result}", "message": "no disk"})

    return application


async def run_lifespans(site: Mounts, during: Callable[[], Awaitable[None]]) -> list[str]:
    """Start the applications, run ``during``, and stop them; return what the server is told."""
    communicator = ApplicationCommunicator(site, {"type": "lifespan"})
    await communicator.send_input({"type": "lifespan.startup"})
    events = [await communicator.receive_output(5)]
    if events[0]["type"] == "lifespan.startup.complete":
        await during()
        await communicator.send_input({"type": "lifespan.shutdown"})
        events.append(await communicator.receive_output(5))
    await communicator.wait()
    return [f"{event['type']} {event.get('message', '')}".strip() for event in events]


def test_every_application_starts_before_requests_and_stops_after_them() -> None:
    log: list[str] = []
    site = Mounts(
        django,
        {"/a": lifespan(log, "a"), "/none": mounted, "/b": lifespan(log, "b")},
    )

    async def requests() -> None:
        log.append(f"{await get(site, '/a')} {await get(site, '/b')} {await get(site, '/none')}")

    told = asyncio.run(run_lifespans(site, requests))
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert log == ["a startup", "b startup", "a b /none /none/ http", "b shutdown", "a shutdown"]


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
def test_failed_lifespan_is_reported_to_the_server(phase: str) -> None:
    site = Mounts(django, {"/a": lifespan([], "a", fails_in=phase)})
    told = asyncio.run(run_lifespans(site, lambda: asyncio.sleep(0)))
    assert told[-1] == f"lifespan.{phase}.failed The application at /a failed: no disk"


# -- the database ---------------------------------------------------------------------------------


@pytest.fixture
def idle_connections(transactional_db: None) -> int:
    connection.close()
    return connections_in_use()


def connections_in_use() -> int:
    stats = connection.pool.get_stats()  # type: ignore[attr-defined]
    return int(stats["pool_size"] - stats["pool_available"])


def test_waiting_requests_hold_neither_connection_nor_thread(idle_connections: int) -> None:
    waiting, threads = 0, set()

    async def scenario() -> None:
        everybody_waits = asyncio.Event()

        async def application(_scope: Any, _receive: Any, send: Any) -> None:
            nonlocal waiting
            await User.objects.acount()
            threads.add(await sync_to_async(lambda: threading.current_thread().name)())
            waiting += 1
            if waiting == CROWD:
                everybody_waits.set()
            await everybody_waits.wait()
            await User.objects.acount()
            await respond(send, "done")

        site = Mounts(django, {"/mcp": application})
        crowd = [asyncio.create_task(get(site, "/mcp")) for _ in range(CROWD)]
        async with asyncio.timeout(20):
            await everybody_waits.wait()
            while connections_in_use() > idle_connections:
                await asyncio.sleep(0.01)
            assert set(await asyncio.gather(*crowd)) == {"done"}
        site.threads.shutdown()

    asyncio.run(scenario())
    assert threads <= {f"mount_{number}" for number in range(THREADS)}


# -- import errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "path", "sentence"),
    [
        ("/mcp", "no_such_module.application", "No module named 'no_such_module'"),
        ("/mcp", "serving.mounts.missing", '"serving.mounts" does not define a "missing"'),
        ("mcp/", "serving.mounts.Mounts", "The prefix 'mcp/' does not have the form '/name'."),
    ],
)
def test_wrong_mount_is_explained_in_one_line_and_exits_78(
    capsys: pytest.CaptureFixture[str], prefix: str, path: str, sentence: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        load_or_exit({prefix: path, "/right": "serving.mounts.Mounts"})
    assert exit_.value.code == 78
    problem, remedy = capsys.readouterr().err.splitlines()
    assert sentence in problem
    assert remedy.startswith("Correct ASGI_MOUNTS in src/config/settings.py")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("def", "invalid syntax (broken.py, line 1)"),
        (
            "import os\nlaunch()",
            "NameError: name 'launch' is not defined ({directory}/broken.py, line 2)",
        ),
        (
            "from django.core.exceptions import ImproperlyConfigured as E\nraise E('No\\nkey.')",
            "ImproperlyConfigured: No key ({directory}/broken.py, line 2)",
        ),
    ],
)
def test_error_in_a_mounted_module_is_explained_in_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    tmp_path: Path,
    code: str,
    sentence: str,
) -> None:
    (tmp_path / "broken.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        load_or_exit({"/mcp": "broken.application"})
    assert exit_.value.code == 78
    problem, _remedy = capsys.readouterr().err.splitlines()
    assert problem.endswith(f"cannot be imported: {sentence.format(directory=tmp_path)}.")
    # With DEBUG on, the development server shows the traceback and waits for a change.
    settings.DEBUG = True
    with pytest.raises((SyntaxError, NameError, ImproperlyConfigured)):
        load_or_exit({"/mcp": "broken.application"})

"""gunicorn with the project's worker and configuration: forged headers and shutdown."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPException, HTTPResponse
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter

from probes.state import State
from serving import gunicorn_worker
from tests import forked
from tests.ports import free_ports

pytestmark = pytest.mark.waits

ROOT = Path(__file__).resolve().parent.parent.parent
DRAIN_DELAY = 1
GRACEFUL_TIMEOUT = 5


class Gunicorn:
    """gunicorn with one worker, on a port of its own, serving tests/stack/apps."""

    def __init__(self, directory: Path, **changes: str) -> None:
        self.output = directory / "output"
        self.to_close = ExitStack()
        (self.port,) = free_ports(1)
        environment = {
            "DJANGO_SETTINGS_MODULE": "extra_settings",
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests/stack/apps'}",
            "WORKERS": "1",
            "DRAIN_DELAY": str(DRAIN_DELAY),
            "GRACEFUL_TIMEOUT": str(GRACEFUL_TIMEOUT),
            "LOG_FORMAT": "json",
            **changes,
        }
        self.process: ForkServerProcess = forked.start(
            *("-m", "gunicorn", "--config", "docker/gunicorn.conf.py"),
            *("--bind", f"127.0.0.1:{self.port}", "config.asgi:application"),
            env=os.environ | environment,
            cwd=ROOT,
            stdout=self.output,
            stderr=self.output,
        )
        end = time.monotonic() + 30
        while True:
            try:
                assert self.request("/livez").status == 200
                break
            except (OSError, HTTPException):
                assert time.monotonic() < end, self.output.read_text()
                time.sleep(0.1)

    def connect(self) -> HTTPConnection:
        return self.to_close.enter_context(
            closing(HTTPConnection("127.0.0.1", self.port, timeout=20))
        )

    def request(self, path: str, **headers: str) -> HTTPResponse:
        """GET on a new connection; return the response with its body unread."""
        connection = self.connect()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers={"Host": "localhost", **sent})
        return self.to_close.enter_context(connection.getresponse())

    def terminate(self) -> None:
        assert self.process.pid
        os.kill(self.process.pid, signal.SIGTERM)

    def signal_worker(self, number: int) -> None:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        os.kill(int(children), number)

    def records(self, **fields: object) -> list[dict[str, Any]]:
        """Return the log records that have these fields."""
        lines = (json.loads(line) for line in self.output.read_text().splitlines())
        return [line for line in lines if fields.items() <= line.items()]


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Gunicorn]:
    server = Gunicorn(tmp_path)
    with server.to_close:
        yield server
    if server.process.is_alive():
        server.process.terminate()
        server.process.join(30)


def test_forged_forwarded_header_does_not_change_the_client(gunicorn: Gunicorn) -> None:
    gunicorn.request("/fail/400/", X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https")
    end = time.monotonic() + 10
    # The line may be written after the response.
    while not (records := gunicorn.records(logger="access", path="/fail/400/")):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert [record["client"] for record in records] == ["127.0.0.1"]


def test_worker_frees_garbage(gunicorn: Gunicorn) -> None:
    assert gunicorn.request("/garbage/").read() == b"freed"


def test_streams_are_closed_and_logged_before_the_timeout(gunicorn: Gunicorn) -> None:
    paths = ["/endless/sync/", "/endless/async/", "/prefix/endless/"]
    streams = [gunicorn.request(path) for path in paths for _ in range(2)]
    assert {stream.readline() for stream in streams} == {b"data: event\n"}
    kept = gunicorn.connect()
    kept.request("GET", "/livez")
    first = kept.getresponse()
    first.read()
    assert first.getheader("Connection") is None

    gunicorn.terminate()
    time.sleep(DRAIN_DELAY / 2)
    # The worker still serves, and asks clients to close their connections.
    kept.request("GET", "/livez")
    with kept.getresponse() as last:
        last.read()
    assert (last.status, last.getheader("Connection")) == (200, "close")

    for stream in streams:
        with pytest.raises((OSError, HTTPException)):
            stream.read()
    gunicorn.process.join(20)
    assert gunicorn.process.exitcode == 0
    assert "Worker exiting" in gunicorn.output.read_text()
    # Perhaps also the connection that was kept.
    assert re.search(
        r"Disconnecting [67] clients whose responses are open", gunicorn.output.read_text()
    )
    assert len(gunicorn.records(message="The stream was closed")) == len(streams)
    for path in paths:
        statuses = [record["status"] for record in gunicorn.records(logger="access", path=path)]
        assert statuses == [200, 200]
    assert "Traceback" not in gunicorn.output.read_text()


def test_waiting_async_view_is_cancelled_before_the_timeout(gunicorn: Gunicorn) -> None:
    connections = [gunicorn.connect() for _ in range(2)]
    for connection, path in zip(connections, ("/wait/60/", "/prefix/wait/60/"), strict=True):
        connection.request("GET", path)
    time.sleep(0.5)
    gunicorn.terminate()
    gunicorn.process.join(20)
    assert "Worker exiting" in gunicorn.output.read_text()
    assert len(gunicorn.records(message="The view ended")) == 2


def test_blocked_thread_is_killed_at_the_timeout(gunicorn: Gunicorn) -> None:
    gunicorn.connect().request("GET", "/block/60/")
    time.sleep(0.5)
    start = time.monotonic()
    gunicorn.terminate()
    gunicorn.process.join(20)
    assert GRACEFUL_TIMEOUT - 0.5 < time.monotonic() - start < GRACEFUL_TIMEOUT + 2
    assert gunicorn.process.exitcode == 0


def test_sigquit_stops_at_once_and_closes_streams(gunicorn: Gunicorn) -> None:
    stream = gunicorn.request("/endless/async/")
    stream.readline()
    start = time.monotonic()
    assert gunicorn.process.pid
    os.kill(gunicorn.process.pid, signal.SIGQUIT)
    gunicorn.process.join(20)
    # SIGTERM would drain, and give the stream until GRACEFUL_TIMEOUT.
    assert time.monotonic() - start < DRAIN_DELAY + 1
    assert gunicorn.process.exitcode == 0


@pytest.mark.parametrize("streams", [False, True])
def test_second_signal_ends_the_drain_delay_and_sigint_ends_streams(
    tmp_path: Path, streams: bool
) -> None:
    gunicorn = Gunicorn(tmp_path, DRAIN_DELAY="20", GRACEFUL_TIMEOUT="30")
    with gunicorn.to_close:
        if streams:
            gunicorn.request("/endless/async/").readline()
        gunicorn.terminate()
        time.sleep(0.5)
        gunicorn.signal_worker(signal.SIGTERM)
        if streams:
            gunicorn.process.join(1)
            assert gunicorn.process.is_alive()
            gunicorn.signal_worker(signal.SIGINT)
        gunicorn.process.join(10)
    assert gunicorn.process.exitcode == 0


def test_gunicorn_exits_if_the_application_does_not_start(tmp_path: Path) -> None:
    done = forked.run(
        *("-m", "gunicorn", "--config", "docker/gunicorn.conf.py"),
        *("--bind", "127.0.0.1:0", "tests.serving.refusing:application"),
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "WORKERS": "1"},
        cwd=ROOT,
    )
    assert done.returncode == Arbiter.WORKER_BOOT_ERROR
    assert "Refused for the test." in done.stdout + done.stderr


@pytest.mark.parametrize("draining", [False, True])
def test_response_of_a_draining_worker_keeps_its_headers_and_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch, draining: bool
) -> None:
    headers = [(b"content-type", b"text/html"), (b"Connection", b"keep-alive")]
    sent: list[Any] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"all"})

    async def send(event: Any) -> None:
        sent.append(event)

    state = State()
    if draining:
        state.draining.set()
    monkeypatch.setattr(gunicorn_worker, "STATE", state)
    wrapped: Any = gunicorn_worker.close_connections_while_draining(app)
    asyncio.run(wrapped({}, None, send))
    start, body = sent
    expected = [headers[0], (b"connection", b"close")] if draining else headers
    assert start["headers"] == expected
    assert body["body"] == b"all"


def test_each_worker_has_a_socket_of_its_own_on_the_shared_address() -> None:
    """So the kernel distributes new connections to all workers."""
    with socket.create_server(("127.0.0.1", 0)) as shared:
        (own,) = gunicorn_worker.own_sockets([shared])
        with own:
            assert own.getsockname() == shared.getsockname()
            own.listen()
            with pytest.raises(OSError, match="in use"), socket.create_server(own.getsockname()):
                pass

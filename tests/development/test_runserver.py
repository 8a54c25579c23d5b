"""runserver on a copy of src/: what it serves, and what it survives."""

import os
import shutil
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import forked

pytestmark = pytest.mark.waits

SRC = Path(__file__).resolve().parent.parent.parent / "src"
WAITING = "Waiting for a change under src/"


def wait(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


class Runserver:
    """A runserver process of its own, over a copy of src/."""

    def __init__(self, directory: Path) -> None:
        self.src = directory / "src"
        shutil.copytree(SRC, self.src, ignore=shutil.ignore_patterns("__pycache__"))
        self.output = directory / "output"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process: ForkServerProcess | None = None

    def start(self, *arguments: str, **environment: str | None) -> "Runserver":
        """Start it; variables that are None are left out of its environment."""
        changed = os.environ | environment | {"PYTHONPATH": str(self.src)}
        self.process = forked.start(
            *("manage.py", "runserver", f"127.0.0.1:{self.port}", *arguments),
            env={name: value for name, value in changed.items() if value is not None},
            cwd=self.src,
            stdout=self.output,
            stderr=self.output,
        )
        return self

    def said(self) -> str:
        """Return all that it printed so far."""
        return self.output.read_text()

    def get(self, path: str = "/livez") -> str:
        """Return the body, or nothing while no one answers or the answer is an error."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as got:
                return str(got.read().decode())
        except (OSError, HTTPException):
            return ""

    def ended(self, seconds: float = 20) -> int | None:
        """Wait for its end and return the exit status; None when it goes on."""
        assert self.process
        self.process.join(seconds)
        return self.process.exitcode

    def stop(self, by: signal.Signals = signal.SIGTERM) -> tuple[int | None, float]:
        """Return the exit status and the seconds that stopping took."""
        assert self.process
        assert self.process.pid
        start = time.monotonic()
        os.kill(self.process.pid, by)
        return self.ended(10), time.monotonic() - start


@pytest.fixture
def runserver(tmp_path: Path) -> Iterator[Runserver]:
    server = Runserver(tmp_path)
    yield server
    if server.process and server.process.is_alive():
        server.stop()


def test_serves_asgi_and_the_apps_static_files(runserver: Runserver) -> None:
    views = runserver.src / "home" / "views.py"
    views.write_text(
        views.read_text()
        + "\n\ndef home(request):\n    return HttpResponse(type(request).__name__)\n"
        + "\n\nfrom django.http import HttpResponse\n"
    )
    runserver.start(SITE_URL="http://site.example:1234/")

    wait(runserver.get)
    assert runserver.get("/") == "ASGIRequest"
    assert "ASGI" in runserver.said()
    assert "http://site.example:1234/" in runserver.said()
    assert runserver.get("/static/site.css")
    assert runserver.get("/static/admin/css/base.css")
    assert "Warning" not in runserver.said()


@pytest.mark.parametrize(
    "files",
    [
        ("config/settings.py", "config/asgi.py", "config/urls.py", "home/views.py"),
        (
            "development/management/commands/runserver.py",
            "environment/contract.py",
            "probes/asgi.py",
            "accounts/models.py",
        ),
    ],
    ids=lambda files: files[0],
)
def test_a_syntax_error_is_waited_out(runserver: Runserver, files: tuple[str, ...]) -> None:
    """In the first of them from the start; every start of the child is like the first."""
    for number, file in enumerate(files):
        path = runserver.src / file
        sound = path.read_text()
        path.write_text("def broken(:\n")
        if number == 0:
            runserver.start()
        wait(lambda expected=number + 1: runserver.said().count(WAITING) == expected)  # type: ignore[misc]
        assert runserver.said().count("SyntaxError") == number + 1
        path.write_text(sound)
        wait(runserver.get)


def test_a_change_that_was_saved_while_the_code_loads_is_not_missed(runserver: Runserver) -> None:
    views = runserver.src / "home" / "views.py"
    sound = views.read_text()
    runserver.start()
    wait(runserver.get)

    # The second is saved as soon as the first has been read.
    marker = runserver.src.parent / "read"
    views.write_text(f"{sound}\nopen({str(marker)!r}, 'w').close()\n")
    wait(marker.exists)
    views.write_text(
        f"{sound}\nfrom django.http import HttpResponse\n\ndef home(request):\n"
        "    return HttpResponse('second')\n"
    )

    wait(lambda: runserver.get("/") == "second", 10)


def test_stops_at_once_with_an_event_stream_open(runserver: Runserver) -> None:
    runserver.start()
    wait(runserver.get)
    stream = urllib.request.Request(
        f"http://127.0.0.1:{runserver.port}/__reload__/events/",
        headers={"Accept": "text/event-stream"},
    )
    with urllib.request.urlopen(stream, timeout=10) as events:
        assert b"ping" in events.readline()
        status, seconds = runserver.stop()

    assert status == 0
    assert seconds < 2
    assert "Traceback" not in runserver.said()
    assert not runserver.get()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_stops_while_it_waits(runserver: Runserver, by: signal.Signals) -> None:
    (runserver.src / "config" / "settings.py").write_text("broken")
    runserver.start()
    wait(lambda: WAITING in runserver.said())

    said = runserver.said()
    assert runserver.stop(by)[0] == 0
    assert runserver.said() == said


def test_a_broken_environment_ends_it(runserver: Runserver) -> None:
    runserver.start(SECRET_KEY="short")

    assert runserver.ended() == 78
    assert "SECRET_KEY" in runserver.said()
    assert "Traceback" not in runserver.said()


def test_a_taken_port_ends_it(runserver: Runserver) -> None:
    with socket.create_server(("127.0.0.1", runserver.port)):
        runserver.start()
        assert runserver.ended() == 1
    assert "already in use" in runserver.said()
    assert "Traceback" not in runserver.said()


def test_a_failed_system_check_is_waited_out_without_a_traceback(runserver: Runserver) -> None:
    settings = runserver.src / "config" / "settings.py"
    sound = settings.read_text()
    settings.write_text(
        f'{sound}\nMIDDLEWARE.remove("django.contrib.messages.middleware.MessageMiddleware")\n'
    )
    runserver.start()
    wait(lambda: WAITING in runserver.said())
    assert "admin.E409" in runserver.said()
    assert "Traceback" not in runserver.said()

    settings.write_text(sound)
    wait(runserver.get)


def test_serves_without_postgresql(runserver: Runserver) -> None:
    runserver.start(DATABASE_URL="postgres://nobody:nothing@127.0.0.1:1/nothing")

    wait(runserver.get)
    wait(lambda: "PostgreSQL cannot be reached" in runserver.said())


def test_tells_of_unapplied_migrations_soon_after_it_serves(runserver: Runserver) -> None:
    url = urlsplit(os.environ["DATABASE_URL"])
    runserver.start(DATABASE_URL=url._replace(path="/postgres").geturl())

    wait(lambda: "unapplied migration(s)" in runserver.said())
    assert runserver.get()

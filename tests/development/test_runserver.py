"""runserver on a copy of src/: pages, reloads, stops and recovery from errors."""

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
from django.db import connection

from development.management.commands.runserver import MIGRATIONS_WARNING_DELAY
from tests import forked
from tests.ports import free_ports

pytestmark = pytest.mark.waits

SRC = Path(__file__).resolve().parent.parent.parent / "src"
WAITING = "Waiting for a change under src/"


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


class Runserver:
    """A runserver process that serves a copy of src/."""

    def __init__(self, directory: Path) -> None:
        self.src = directory / "src"
        shutil.copytree(SRC, self.src, ignore=shutil.ignore_patterns("__pycache__"))
        self.output = directory / "output"
        (self.port,) = free_ports(1)
        self.process: ForkServerProcess | None = None

    def start(self, *arguments: str, **environment: str | None) -> "Runserver":
        """Start it; variables that are None are removed from its environment."""
        changed = os.environ | environment | {"PYTHONPATH": str(self.src)}
        self.process = forked.start(
            *("manage.py", "runserver", f"127.0.0.1:{self.port}", *arguments),
            env={name: value for name, value in changed.items() if value is not None},
            cwd=self.src,
            stdout=self.output,
            stderr=self.output,
        )
        return self

    def printed(self) -> str:
        """Return everything that it printed so far."""
        return self.output.read_text()

    def get(self, path: str = "/livez") -> str:
        """Return the body, or an empty string if there is no response or an error."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as got:
                return str(got.read().decode())
        except (OSError, HTTPException):
            return ""

    def wait_for_exit(self, seconds: float = 20) -> int | None:
        """Return the exit status, or None if it still runs after that many seconds."""
        assert self.process
        self.process.join(seconds)
        return self.process.exitcode

    def stop(self, by: signal.Signals = signal.SIGTERM) -> tuple[int | None, float]:
        """Stop it with a signal; return the exit status and how many seconds that took."""
        assert self.process
        assert self.process.pid
        start = time.monotonic()
        os.kill(self.process.pid, by)
        return self.wait_for_exit(10), time.monotonic() - start


@pytest.fixture
def runserver(tmp_path: Path) -> Iterator[Runserver]:
    server = Runserver(tmp_path)
    yield server
    if server.process:
        forked.stop(server.process)


def test_runserver_serves_asgi_and_static_files(runserver: Runserver) -> None:
    views = runserver.src / "home" / "views.py"
    views.write_text(
        views.read_text()
        + "\n\ndef home(request):\n    return HttpResponse(type(request).__name__)\n"
        + "\n\nfrom django.http import HttpResponse\n"
    )
    runserver.start(SITE_URL="http://site.example:1234/")

    wait_until(runserver.get)
    assert runserver.get("/") == "ASGIRequest"
    assert "ASGI" in runserver.printed()
    assert "http://site.example:1234/" in runserver.printed()
    assert runserver.get("/static/site.css")
    assert runserver.get("/static/admin/css/base.css")
    assert "Warning" not in runserver.printed()


@pytest.mark.parametrize(
    "files",
    [
        ("config/settings.py", "config/asgi.py", "config/urls.py", "home/views.py"),
        (
            "development/management/commands/runserver.py",
            "environment/contract.py",
            "probes/asgi.py",
            "accounts/models.py",
            "mcp_hub/hub.py",
        ),
    ],
    ids=lambda files: files[0],
)
def test_runserver_survives_syntax_error_until_it_is_fixed(
    runserver: Runserver, files: tuple[str, ...]
) -> None:
    # The first file is broken from the start, the others while the server runs.
    for number, file in enumerate(files):
        path = runserver.src / file
        valid = path.read_text()
        path.write_text("def broken(:\n")
        if number == 0:
            runserver.start()
        wait_until(lambda expected=number + 1: runserver.printed().count(WAITING) == expected)  # type: ignore[misc]
        assert runserver.printed().count("SyntaxError") == number + 1
        path.write_text(valid)
        wait_until(runserver.get)


def test_change_saved_while_the_code_loads_is_not_missed(runserver: Runserver) -> None:
    views = runserver.src / "home" / "views.py"
    valid = views.read_text()
    runserver.start()
    wait_until(runserver.get)

    # The second change is saved as soon as the first one has been loaded.
    marker = runserver.src.parent / "read"
    views.write_text(f"{valid}\nopen({str(marker)!r}, 'w').close()\n")
    wait_until(marker.exists)
    views.write_text(
        f"{valid}\nfrom django.http import HttpResponse\n\ndef home(request):\n"
        "    return HttpResponse('second')\n"
    )

    wait_until(lambda: runserver.get("/") == "second", 10)


def test_watcher_notices_a_change_and_adds_no_line(runserver: Runserver) -> None:
    views = runserver.src / "home" / "views.py"
    runserver.start()
    wait_until(runserver.get)
    # A second after the start, a check of its own would notice the change.
    time.sleep(2)
    views.write_text(views.read_text().replace("home/home.html", "400.html"))
    wait_until(lambda: "is not valid" in runserver.get("/"), 10)
    for words in (WAITING, "[watchfiles", "[uvicorn"):
        assert words not in runserver.printed()


def test_open_event_stream_does_not_delay_stop(runserver: Runserver) -> None:
    runserver.start()
    wait_until(runserver.get)
    stream = urllib.request.Request(
        f"http://127.0.0.1:{runserver.port}/__reload__/events/",
        headers={"Accept": "text/event-stream"},
    )
    with urllib.request.urlopen(stream, timeout=10) as events:
        assert b"ping" in events.readline()
        status, seconds = runserver.stop()

    assert status == 0
    assert seconds < 2
    assert "Traceback" not in runserver.printed()
    assert not runserver.get()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_stop_works_while_waiting_for_a_fix(runserver: Runserver, by: signal.Signals) -> None:
    (runserver.src / "config" / "settings.py").write_text("broken")
    runserver.start()
    wait_until(lambda: WAITING in runserver.printed())

    before = runserver.printed()
    assert runserver.stop(by)[0] == 0
    assert runserver.printed() == before


def test_invalid_environment_exits_with_the_contracts_table(runserver: Runserver) -> None:
    runserver.start(SECRET_KEY="short")

    assert runserver.wait_for_exit() == 78
    assert "SECRET_KEY" in runserver.printed()
    assert "Traceback" not in runserver.printed()


def test_port_in_use_exits_without_traceback(runserver: Runserver) -> None:
    with socket.create_server(("127.0.0.1", runserver.port)):
        runserver.start()
        assert runserver.wait_for_exit() == 1
    assert "already in use" in runserver.printed()
    assert "Traceback" not in runserver.printed()


def test_runserver_survives_failed_system_check_without_traceback(runserver: Runserver) -> None:
    settings = runserver.src / "config" / "settings.py"
    valid = settings.read_text()
    settings.write_text(
        f'{valid}\nMIDDLEWARE.remove("django.contrib.messages.middleware.MessageMiddleware")\n'
    )
    runserver.start()
    wait_until(lambda: WAITING in runserver.printed())
    assert "admin.E409" in runserver.printed()
    assert "Traceback" not in runserver.printed()

    settings.write_text(valid)
    wait_until(runserver.get)


def test_runserver_serves_without_postgresql_and_reports_it(runserver: Runserver) -> None:
    runserver.start(DATABASE_URL="postgres://nobody:nothing@127.0.0.1:1/nothing")

    wait_until(runserver.get)
    wait_until(lambda: "PostgreSQL cannot be reached" in runserver.printed())


def test_unapplied_migrations_are_reported_after_the_start(runserver: Runserver) -> None:
    url = urlsplit(os.environ["DATABASE_URL"])
    runserver.start(DATABASE_URL=url._replace(path="/postgres").geturl())

    wait_until(lambda: "unapplied migration(s)" in runserver.printed())
    assert runserver.get()


@pytest.mark.django_db(transaction=True)
def test_migrated_database_gives_no_warning(runserver: Runserver) -> None:
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format_map(connection.settings_dict)
    runserver.start(DATABASE_URL=url)
    wait_until(runserver.get)
    time.sleep(1 + MIGRATIONS_WARNING_DELAY + 2)
    assert "migration" not in runserver.printed()


def test_code_that_exits_is_waited_for(runserver: Runserver) -> None:
    views = runserver.src / "home" / "views.py"
    valid = views.read_text()
    # Only the first of the two threads that import it: coverage cannot save its data in both.
    imported = runserver.src.parent / "imported"
    views.write_text(
        f"{valid}\nimport os\n"
        f"if not os.path.exists({str(imported)!r}):\n"
        f"    open({str(imported)!r}, 'w').close()\n"
        "    raise SystemExit(1)\n"
    )
    runserver.start()
    wait_until(lambda: WAITING in runserver.printed())
    assert "SystemExit" in runserver.printed()

    views.write_text(valid)
    wait_until(runserver.get)


def test_runserver_reloads_without_the_dev_tools(runserver: Runserver) -> None:
    settings = runserver.src / "config" / "settings.py"
    settings.write_text(settings.read_text().replace("DEV_TOOLS = DEBUG", "DEV_TOOLS = False"))
    runserver.start()
    wait_until(runserver.get)

    with (runserver.src / "home" / "views.py").open("a") as views:
        views.write(
            "\n\nfrom django.http import HttpResponse\n\ndef home(request):\n"
            "    return HttpResponse('second')\n"
        )

    wait_until(lambda: runserver.get("/") == "second")


def test_runserver_without_reloader_stops_at_ctrl_c(runserver: Runserver) -> None:
    runserver.start("--noreload")
    wait_until(runserver.get)

    assert runserver.stop(signal.SIGINT)[0] == 0
    assert "Traceback" not in runserver.printed()


def test_runserver_without_reloader_exits_at_a_failed_system_check(runserver: Runserver) -> None:
    with (runserver.src / "config" / "settings.py").open("a") as settings:
        settings.write(
            '\nMIDDLEWARE.remove("django.contrib.messages.middleware.MessageMiddleware")\n'
        )
    runserver.start("--noreload")

    assert runserver.wait_for_exit() == 1
    assert "admin.E409" in runserver.printed()
    assert "Traceback" not in runserver.printed()

"""The worker container loses no task, stops in time, and has the same limits as web."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from scripts.stack.engine import PROJECT, ROOT, Container, Stack, wait_for
from tests.stack.figures import figure

# LOCK_TIMEOUT, half of it until a worker checks for expired leases, and the start of the task.
RUNS_AGAIN_WITHIN = 30 + 15 + 5
OUTAGE = 10.0
ENQUEUE = """
import sys, django
django.setup()
import tasks_app
for name in sys.argv[2:]:
    tasks_app.note.enqueue(name, seconds=float(sys.argv[1]))
"""
FORGET = "DELETE FROM django_ox_oxtask WHERE task_path = 'tasks_app.note'"
RESET_PASSWORDS = """
import sys, django
django.setup()
from accounts.models import User
from accounts.tasks import send_password_reset
for email in sys.argv[1:]:
    User.objects.create_user(email, "correct horse")
    send_password_reset.enqueue(email, "example.com", use_https=True)
"""
FORGET_USERS = "DELETE FROM accounts_user WHERE email LIKE 'mail-%'"
STATES = "SELECT status FROM django_ox_oxtask WHERE task_path = 'tasks_app.note'"


class Note(NamedTuple):
    """A line that a task wrote."""

    at: float
    task: str
    event: str


class Queue:
    """Workers that run the tasks of tests/stack/apps/tasks_app.py, and the tasks' output."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.notes = folder / "notes"
        self.options = (
            *("--volume", f"{ROOT}/tests/stack/apps:/tests:ro"),
            *("--volume", f"{folder}:/notes"),
        )
        self.env = {"PYTHONPATH": "/app/src:/tests", "DJANGO_SETTINGS_MODULE": "config.settings"}
        self.started: list[Container] = []

    def start(self) -> Container:
        """Start a worker and wait until it is healthy."""
        worker = self.stack.start(service="worker", env=self.env, options=self.options)
        self.started.append(worker)
        return worker.wait_healthy()

    def enqueue(self, *names: str, seconds: float = 0) -> None:
        self.started[-1].python(ENQUEUE, str(seconds), *names)

    def states(self) -> list[str]:
        """Return the status of each task."""
        return self.stack.sql(STATES).split()

    def lines(self) -> list[Note]:
        """Return the lines that the tasks wrote."""
        if not self.notes.exists():
            return []
        rows = (line.split() for line in self.notes.read_text().splitlines())
        return [Note(float(at), task, event) for at, task, event in rows]

    def wait_for_lines(self, event: str, count: int, seconds: float) -> list[Note]:
        """Wait until tasks wrote ``count`` lines of an event, "start" or "end"; return them."""

        def enough() -> list[Note]:
            found = [line for line in self.lines() if line.event == event]
            return found if len(found) >= count else []

        return wait_for(enough, seconds)[0]


@pytest.fixture
def queue(stack: Stack, tmp_path: Path) -> Iterator[Queue]:
    """Workers that know the test's tasks; the stack's own worker, which does not, is stopped."""
    # The container's user, 10001, writes here.
    tmp_path.chmod(0o777)
    shared = stack.container("worker")
    shared.docker("stop")
    queue = Queue(stack, tmp_path)
    yield queue
    for worker in queue.started:
        worker.remove()
    stack.sql(FORGET)
    shared.docker("start")


def exit_code(worker: Container) -> int:
    return int(worker.inspect()["State"]["ExitCode"])


def test_task_of_a_killed_worker_runs_again(queue: Queue) -> None:
    worker = queue.start()
    queue.enqueue("mail", seconds=3)
    queue.wait_for_lines("start", 1, 30)
    worker.docker("kill")
    killed = time.time()

    queue.start()

    again = queue.wait_for_lines("start", 2, RUNS_AGAIN_WITHIN)[1]
    figure("tasks", "worker killed -9 in a task", f"runs again after {again.at - killed:.0f} s")
    assert again.at - killed < RUNS_AGAIN_WITHIN
    queue.wait_for_lines("end", 1, 10)
    assert queue.states() == ["SUCCESSFUL"]


def test_stopped_worker_finishes_running_tasks_and_starts_no_others(queue: Queue) -> None:
    worker = queue.start()
    # One worker runs four tasks at once. The fifth has to wait. Docker kills a container after 10 s
    # unless Compose gives it more.
    queue.enqueue(*"abcde", seconds=12)
    queue.wait_for_lines("start", 4, 30)

    stopped = time.monotonic()
    worker.docker("stop")
    seconds = time.monotonic() - stopped

    figure("tasks", "worker stopped with 4 tasks in hand", f"exits 0 after {seconds:.1f} s")
    assert exit_code(worker) == 0
    assert seconds < 30
    assert sorted(line.task for line in queue.lines() if line.event == "end") == [*"abcd"]
    assert sorted(queue.states()) == ["READY", *["SUCCESSFUL"] * 4]


@pytest.mark.parametrize("fault", ["stop", "pause"])
def test_worker_survives_ten_seconds_without_postgresql(
    queue: Queue, stack: Stack, fault: str
) -> None:
    postgres = stack.container("postgres")
    worker = queue.start()
    # Five seconds of work, so that some is left when PostgreSQL stops, on a busy machine too.
    names = [str(number) for number in range(20)]
    queue.enqueue(*names, seconds=1)
    queue.wait_for_lines("start", 4, 30)

    postgres.docker(fault)
    time.sleep(OUTAGE)
    postgres.docker({"stop": "start", "pause": "unpause"}[fault])
    restored = time.time()

    ends = queue.wait_for_lines("end", len(names), RUNS_AGAIN_WITHIN + 30)
    wait_for(lambda: set(queue.states()) == {"SUCCESSFUL"}, RUNS_AGAIN_WITHIN, 0.5)
    first = min(line.at for line in ends if line.at > restored)
    figure("tasks", f"postgres {fault}, 10 s", f"next task ends {first - restored:.1f} s after it")
    assert {line.task for line in ends} == set(names)
    assert worker.restarts() == 0
    assert worker.inspect()["State"]["Running"]
    # An outage is logged once, not at every poll.
    assert worker.logs().count("worker_poll_failed") == (1 if fault == "stop" else 0)


def test_mail_is_sent_after_mail_server_outage(queue: Queue, stack: Stack) -> None:
    """tests/background/test_tasks.py shows that retries outlast an outage of ten minutes."""
    server = f"{PROJECT}-mail"
    queue.env |= {
        "EMAIL_URL": f"smtp://{server}:2525",
        "DEFAULT_FROM_EMAIL": "noreply@example.com",
    }
    addresses = [f"mail-{number}@example.com" for number in range(5)]
    worker = queue.start()
    worker.python(RESET_PASSWORDS, *addresses)
    wait_for(lambda: worker.logs().count("task_retrying") >= 5, 30)

    mail = stack.start(
        *("python", "/tests/smtp_server.py"),
        service="worker",
        options=("--name", server, *queue.options),
    )
    queue.started.append(mail)

    received = queue.notes.with_name("mail")
    wait_for(lambda: received.exists() and len(received.read_text().split()) >= 5, 30)
    time.sleep(2)
    assert sorted(received.read_text().split()) == addresses
    stack.sql(FORGET_USERS)


def test_worker_has_the_limits_of_web(stack: Stack, web: Container) -> None:
    def limits(container: Container) -> dict[str, Any]:
        about = container.inspect()
        names = (
            *("ReadonlyRootfs", "CapDrop", "SecurityOpt", "Memory", "MemorySwap", "NanoCpus"),
            *("PidsLimit", "Ulimits", "Tmpfs", "Init", "RestartPolicy"),
        )
        image = {key: about["Config"][key] for key in ("Image", "User")}
        return {name: about["HostConfig"][name] for name in names} | image

    assert limits(stack.container("worker")) == limits(web)


def test_worker_that_hangs_becomes_unhealthy(queue: Queue) -> None:
    worker = queue.start()
    check = worker.inspect()["Config"]["Healthcheck"]["Test"]
    assert check[0] == "CMD-SHELL"
    worker.exec("sh", "-c", check[1])

    worker.exec("sh", "-c", "kill -STOP -1")
    worker.exec("touch", "-d", "2 minutes ago", "/tmp/worker-heartbeat")  # noqa: S108

    time.sleep(2)
    assert worker.exec("sh", "-c", f"{check[1]} || echo unhealthy") == "unhealthy\n"


def test_worker_needs_less_than_90_mb(queue: Queue) -> None:
    worker = queue.start()
    queue.enqueue(*map(str, range(50)))
    queue.wait_for_lines("end", 50, 30)

    status = worker.python(
        "import pathlib\n"
        "for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n"
        "    if b'heartbeat' in path.read_bytes():\n"
        "        print(path.with_name('status').read_text())\n"
    )
    resident = [
        int(line.split()[1]) * 1024 / 1e6
        for line in status.splitlines()
        if line.startswith("VmRSS")
    ]
    figure("tasks", "none", f"{max(resident):.0f} MB resident after 50 tasks")
    assert 20 < max(resident) < 90

"""Worker processes on the test's database."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django_ox.models import OxTask
from structlog.contextvars import bound_contextvars

from backends.database import connected_as_owner
from background.worker import PollFailureFilter
from scripts.stack.engine import wait_for
from tests import forked
from tests.background import examples

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.django_db(transaction=True)


class WorkerProcess:
    """A `manage.py worker` process that runs the code in ``src``, and its log."""

    def __init__(
        self, log: Path, *options: str, src: Path = ROOT / "src", traced: bool = True
    ) -> None:
        self.log = log
        database = connection.settings_dict
        url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format_map(database)
        self.process = forked.start(
            *("manage.py", "worker", *options),
            env=os.environ
            | {"DATABASE_URL": url, "PYTHONPATH": f"{src}:{ROOT}", "LOG_FORMAT": "json"},
            cwd=src,
            stdout=log,
            stderr=log.with_suffix(".err"),
            traced=traced,
        )

    def wait_until_started(self, times: int = 1) -> WorkerProcess:
        """Wait until the log says that the worker started, for the first time or again."""
        wait_for(lambda: len(self.events("worker_started")) >= times, 30)
        return self

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log's records with this message."""
        return [record for record in self.records() if record["message"] == name]

    def records(self) -> list[dict[str, Any]]:
        """Return the log's records."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def kill(self) -> None:
        """Kill the process without any cleanup, as the kernel does when memory runs out."""
        forked.kill(self.process)

    def stop(self) -> int | None:
        """Send SIGTERM; return the exit status."""
        self.process.terminate()
        self.process.join(30)
        return self.process.exitcode


type StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Start a worker process with options; it is stopped after the test.

    django-ox does not interrupt a task while its thread is traced, and logs a warning instead.
    """
    started: list[WorkerProcess] = []

    def start(
        *options: str, src: Path = ROOT / "src", wait: bool = True, traced: bool = True
    ) -> WorkerProcess:
        log = tmp_path / f"worker-{len(started)}.log"
        started.append(WorkerProcess(log, *options, src=src, traced=traced))
        return started[-1].wait_until_started() if wait else started[-1]

    yield start
    for worker in started:
        forked.stop(worker.process)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """The file that the tasks write to."""
    file = tmp_path / "notes"
    file.touch()
    return file


def wait_for_lines(notes: Path, count: int, seconds: float = 10) -> list[str]:
    """Return the lines that tasks wrote, as soon as there are ``count``."""
    wait_for(lambda: len(notes.read_text().splitlines()) >= count, seconds, every=0.02)
    return notes.read_text().splitlines()


def test_notification_starts_a_task_long_before_the_next_poll(
    start_worker: StartWorker, notes: Path
) -> None:
    start_worker("--interval=60")
    time.sleep(1)

    for number in range(5):
        with bound_contextvars(request_id="Root=1-abc"):
            examples.note.enqueue(str(notes), "done")
        wait_for_lines(notes, number + 1, seconds=3)


def rename_table(old: str, new: str) -> None:
    with connected_as_owner("default", settings.ENV) as owner, owner.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


@pytest.mark.waits
def test_worker_listens_again_after_its_connection_is_lost(
    start_worker: StartWorker, notes: Path
) -> None:
    start_worker("--interval=60")
    time.sleep(1)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE query LIKE 'LISTEN%' AND datname = current_database()"
        )
        assert cursor.fetchall() == [(True,)]
    time.sleep(3)

    examples.note.enqueue(str(notes), "done")

    assert wait_for_lines(notes, 1, seconds=3) == ["done"]


@pytest.mark.waits
def test_task_of_a_killed_worker_runs_again_when_its_lease_ends(
    start_worker: StartWorker, notes: Path
) -> None:
    killed = start_worker("--lock-timeout=3")
    task = examples.note_slowly.enqueue(str(notes), seconds=2)
    assert wait_for_lines(notes, 1) == ["start"]
    killed.kill()

    start_worker("--lock-timeout=3")

    # The lease, half of it until a worker checks for expired leases, the task, and a margin.
    assert wait_for_lines(notes, 3, seconds=3 + 1.5 + 2 + 2) == ["start", "start", "end"]
    wait_for(lambda: OxTask.objects.get(pk=task.id).status == "SUCCESSFUL", 5)
    assert OxTask.objects.get(pk=task.id).attempts == 2


@pytest.mark.waits
def test_worker_finishes_its_running_task_and_starts_no_other_after_sigterm(
    start_worker: StartWorker, notes: Path
) -> None:
    worker = start_worker("--concurrency=1")
    examples.note_slowly.enqueue(str(notes), seconds=2)
    waiting = examples.note.enqueue(str(notes), "another")
    wait_for_lines(notes, 1)

    assert worker.stop() == 0

    assert notes.read_text().split() == ["start", "end"]
    assert OxTask.objects.get(pk=waiting.id).status == "READY"
    assert OxTask.objects.filter(status="SUCCESSFUL").count() == 1


@pytest.mark.waits
def test_two_workers_never_run_the_same_task(start_worker: StartWorker, notes: Path) -> None:
    workers = [start_worker(), start_worker()]
    with transaction.atomic():
        for number in range(200):
            examples.note.enqueue(str(notes), str(number))

    lines = wait_for_lines(notes, 200, seconds=30)
    for worker in workers:
        worker.stop()

    assert sorted(map(int, lines)) == list(range(200))
    assert all(worker.events("task_succeeded") for worker in workers), "one worker was idle"


@pytest.mark.waits
def test_task_that_exceeds_its_time_limit_is_interrupted_and_retried(
    start_worker: StartWorker, notes: Path
) -> None:
    worker = start_worker("--concurrency=1", traced=False)
    task = examples.compute_for_ever.enqueue(str(notes))
    examples.note.enqueue(str(notes), "another")

    assert wait_for_lines(notes, 2, seconds=5) == ["start", "another"]
    row = OxTask.objects.get(pk=task.id)
    assert (row.status, row.attempts) == ("READY", 1)
    assert "TaskTimeout" in row.errors[0]["exception_class_path"]
    assert worker.process.is_alive()


@pytest.mark.waits
def test_worker_with_uninterruptible_task_exits_for_a_restart(
    start_worker: StartWorker, notes: Path
) -> None:
    worker = start_worker()
    task = examples.block_for_ever.enqueue(str(notes))
    wait_for_lines(notes, 1)

    # The time limit, TASK_TIMEOUT_GRACE, and the time to exit.
    worker.process.join(1 + 5 + 5)

    assert worker.process.exitcode == os.EX_TEMPFAIL
    row = OxTask.objects.get(pk=task.id)
    assert (row.status, row.attempts) == ("READY", 1)


def test_task_is_logged_in_one_line_with_the_request_that_enqueued_it(
    start_worker: StartWorker, notes: Path
) -> None:
    worker = start_worker(traced=False)
    with bound_contextvars(request_id="Root=1-abc"):
        task = examples.note.enqueue(str(notes), "done")
    wait_for(lambda: worker.events("task_succeeded"), 5)
    worker.stop()

    (record,) = [record for record in worker.records() if record.get("task_id") == task.id]
    assert record["task_path"] == "tests.background.examples.note"
    assert (record["attempt"], record["request_id"]) == (1, "Root=1-abc")
    assert record["duration_ms"] >= 0
    assert not worker.log.with_suffix(".err").read_text()


@pytest.mark.waits
def test_worker_waits_until_the_database_is_migrated(start_worker: StartWorker) -> None:
    rename_table("background_uniquekey", "not_yet_migrated")
    try:
        worker = start_worker(wait=False)
        wait_for(lambda: worker.events("Waiting for PostgreSQL and migrate."), 30)
        time.sleep(1)
        assert len(worker.records()) == 1
    finally:
        rename_table("not_yet_migrated", "background_uniquekey")
    worker.wait_until_started()


@pytest.mark.waits
def test_dev_worker_restarts_when_the_code_changes(
    start_worker: StartWorker, notes: Path, tmp_path: Path
) -> None:
    src = tmp_path / "src"
    shutil.copytree(ROOT / "src", src, ignore=shutil.ignore_patterns("__pycache__"))
    worker = start_worker("--reload", src=src)
    examples.note_slowly.enqueue(str(notes), seconds=2)
    wait_for_lines(notes, 1)

    # As an editor does; nothing has changed afterwards.
    (src / "home/temporary.py").touch()
    (src / "home/temporary.py").unlink()
    time.sleep(0.5)
    assert len(worker.events("worker_started")) == 1
    (src / "home/views.py").touch()

    worker.wait_until_started(times=2)
    assert notes.read_text().split() == ["start", "end"], "the running task did not finish"
    valid = (src / "accounts/models.py").read_text()
    (src / "accounts/models.py").write_text("def broken(:\n")
    wait_for(lambda: "Waiting for a change" in worker.log.with_suffix(".err").read_text(), 30)
    (src / "accounts/models.py").write_text(valid)
    worker.wait_until_started(times=3)


def poll_failure() -> logging.LogRecord:
    try:
        raise OperationalError("server closed the connection\n")
    except OperationalError:
        return logging.getLogger("django_ox").makeRecord(
            *("django_ox", logging.ERROR, "worker.py", 1, "worker_poll_failed", (), sys.exc_info()),
            extra={"event": "worker_poll_failed"},
        )


def test_failed_polls_are_logged_once_a_minute_without_a_traceback() -> None:
    once_a_minute = PollFailureFilter()
    first = poll_failure()
    assert once_a_minute.filter(first)
    assert first.exc_info is None
    assert first.__dict__["error"] == "server closed the connection"
    assert not once_a_minute.filter(poll_failure())
    assert not once_a_minute.filter(logging.makeLogRecord({"event": "worker_poll_failed"}))
    other = logging.makeLogRecord({"msg": "task_failed"})
    assert once_a_minute.filter(other)

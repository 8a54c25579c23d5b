"""Enqueueing and running tasks, on the test's own connection."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.tasks import TaskResultStatus, task
from django.utils import timezone
from django_ox.models import OxTask
from django_ox.testing import run_tasks
from pytest_django import Settings
from structlog.contextvars import bound_contextvars, get_contextvars

from background.tasks import run_command

pytestmark = pytest.mark.django_db

logger = logging.getLogger(__name__)


@task
def add(a: int, b: int) -> int:
    """A task that returns a value."""
    logger.info("adding")
    return a + b


@task
def fail() -> None:
    """A task that always fails."""
    logger.info("failing")
    raise RuntimeError("out of paper")


@task
def send(away: str) -> None:
    """A task that fails while a file exists."""
    if Path(away).exists():
        raise ConnectionRefusedError("mail server")


def test_task_result_can_be_read_after_the_run() -> None:
    result = add.enqueue(1, b=2)
    assert result.status == TaskResultStatus.READY

    run_tasks()

    result.refresh()
    assert result.return_value == 3


def test_task_of_a_transaction_that_rolls_back_never_runs() -> None:
    with transaction.atomic():
        add.enqueue(1, 2)
        transaction.set_rollback(True)

    assert run_tasks() == []
    assert not OxTask.objects.exists()


def test_failed_task_waits_ten_seconds_then_twice_as_long() -> None:
    fail.enqueue()
    pauses = []
    for _ in range(3):
        run_tasks()
        row = OxTask.objects.get()
        assert row.status == "READY"
        assert row.run_after
        assert row.last_attempted_at
        pauses.append((row.run_after - row.last_attempted_at).total_seconds())
        OxTask.objects.update(run_after=None)

    assert pauses == pytest.approx([10, 20, 40], abs=3)


def test_task_fails_for_good_after_ten_attempts() -> None:
    fail.enqueue()
    for _ in range(12):
        run_tasks()
        OxTask.objects.update(run_after=None)

    row = OxTask.objects.get()
    assert (row.status, row.attempts) == ("FAILED", 10)
    assert "out of paper" in row.errors[-1]["traceback"]


def test_task_succeeds_after_mail_server_outage_of_ten_minutes(tmp_path: Path) -> None:
    minutes = 0.0
    away = tmp_path / "away"
    away.touch()
    send.enqueue(str(away))
    while OxTask.objects.get().status == "READY":
        if minutes >= 10:
            away.unlink(missing_ok=True)
        run_tasks()
        row = OxTask.objects.get()
        if row.run_after and row.last_attempted_at:
            minutes += (row.run_after - row.last_attempted_at).total_seconds() / 60
        OxTask.objects.update(run_after=None)

    assert row.status == "SUCCESSFUL"
    assert row.attempts < row.max_attempts


def test_tasks_with_higher_priority_run_first() -> None:
    low, high = add.using(priority=-10).enqueue(1, 1), add.using(priority=10).enqueue(2, 2)

    assert [result.id for result in run_tasks()] == [high.id, low.id]


def test_log_lines_of_a_task_have_the_id_of_the_request_that_enqueued_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    monkeypatch.setattr(logger, "info", lambda _message: seen.append(get_contextvars()))
    with bound_contextvars(request_id="Root=1-abc"):
        result = add.enqueue(1, 2)

    run_tasks()

    (context,) = seen
    assert context["request_id"] == "Root=1-abc"
    assert (context["task_id"], context["task_path"]) == (result.id, add.module_path)


def test_retry_logs_the_id_of_the_same_request(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(logger, "info", lambda _message: seen.append(get_contextvars()))
    with bound_contextvars(request_id="Root=1-abc"):
        fail.enqueue()

    run_tasks()
    OxTask.objects.update(run_after=None)
    run_tasks()

    assert [context["request_id"] for context in seen] == ["Root=1-abc"] * 2


@pytest.mark.parametrize(("minutes", "healthy"), [(9, True), (11, False)])
def test_health_command_fails_once_a_task_waits_too_long(minutes: int, healthy: bool) -> None:
    add.enqueue(1, 2)
    OxTask.objects.update(enqueued_at=timezone.now() - timedelta(minutes=minutes))

    with nullcontext() if healthy else pytest.raises(CommandError, match="660s old"):
        call_command("ox_health", "--max-age=600")


def test_run_command_returns_the_output_of_the_command() -> None:
    result = run_command.enqueue("check", "--tag=models")

    run_tasks(raise_failures=True)

    result.refresh()
    assert "no issues" in result.return_value


def test_run_command_returns_the_warnings_of_the_command(settings: Settings) -> None:
    settings.MAILERS = {}
    result = run_command.enqueue("check", "--deploy", "--tag=mail")

    run_tasks(raise_failures=True)

    result.refresh()
    assert "accounts.W001" in result.return_value

"""Scheduled commands run once each time they are due."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone
from django_ox.models import OxScheduleTick, OxTask
from django_ox.testing import run_tasks

from background.schedules import MCP_SCHEDULES, SCHEDULES
from background.tasks import run_command
from background.worker import Worker

pytestmark = pytest.mark.django_db
ALL = SCHEDULES | MCP_SCHEDULES


def make_due(name: str) -> None:
    """Pretend that a daily schedule was last seen two days ago."""
    before = (timezone.now() - timedelta(days=2)).replace(second=0, microsecond=0)
    OxScheduleTick.objects.create(
        schedule_name=name, scheduled_for=before, created_at=before, task=None
    )


@pytest.mark.parametrize("name", ALL)
def test_scheduled_command_runs_once_with_two_workers(name: str) -> None:
    make_due(name)

    Worker().dispatch_schedules()
    row = OxTask.objects.get()
    assert (row.task_path, row.args) == (run_command.module_path, ALL[name]["args"])
    (result,) = run_tasks(raise_failures=True)
    assert result.status == "SUCCESSFUL"

    Worker().dispatch_schedules()
    assert OxTask.objects.count() == 1


def test_scheduled_command_is_not_enqueued_before_its_time() -> None:
    Worker().dispatch_schedules()

    assert not OxTask.objects.exists()


def test_command_that_waits_is_not_enqueued_again_and_may_take_ten_minutes() -> None:
    waiting = [run_command.enqueue("clearsessions").id for _ in range(2)]
    assert waiting[0] == waiting[1]
    assert run_command.timeout == 600


def test_clear_sessions_removes_expired_sessions() -> None:
    for key, days in {"expired": -1, "valid": 1}.items():
        expires = timezone.now() + timedelta(days=days)
        Session.objects.create(session_key=key, session_data="", expire_date=expires)

    run_command.enqueue(*SCHEDULES["clear-sessions"]["args"])
    run_tasks(raise_failures=True)

    assert [session.session_key for session in Session.objects.all()] == ["valid"]


@pytest.mark.parametrize(
    ("status", "schedule", "kept_days"),
    [("SUCCESSFUL", "prune-finished-tasks", 7), ("FAILED", "prune-failed-tasks", 90)],
)
def test_finished_tasks_are_removed_after_their_time(
    status: str, schedule: str, kept_days: int
) -> None:
    for age in (kept_days - 1, kept_days + 1):
        finished = timezone.now() - timedelta(days=age)
        OxTask.objects.create(
            task_path=f"{age} days old",
            backend_name="default",
            status=status,
            enqueued_at=finished,
            finished_at=finished,
        )

    run_command.enqueue(*SCHEDULES[schedule]["args"])
    run_tasks(raise_failures=True)

    left = OxTask.objects.exclude(task_path=run_command.module_path)
    assert [task.task_path for task in left] == [f"{kept_days - 1} days old"]

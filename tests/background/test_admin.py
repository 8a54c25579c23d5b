"""The admin's list of tasks."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_ox.models import OxTask
from django_ox.testing import run_tasks

from background.tasks import run_command
from tests.background.examples import note

LIST = reverse("admin:django_ox_oxtask_changelist")

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("status", "since"),
    [("READY", "enqueued_at"), ("RUNNING", "last_attempted_at"), ("FAILED", "finished_at")],
)
def test_admin_shows_status_age_and_attempts_of_a_task(
    admin_client: Client, status: str, since: str
) -> None:
    result = run_command.enqueue("clearsessions")
    now = timezone.now()
    times = dict.fromkeys(("enqueued_at", "last_attempted_at", "finished_at"), now)
    OxTask.objects.filter(pk=result.id).update(
        **times | {since: now - timedelta(hours=1)}, status=status, attempts=7
    )

    page = admin_client.get(LIST, {"status__exact": status}).text

    for column, text in {
        "name": f'/{result.id}/change/?_changelist_filters=status__exact%3D{status}">'
        "background.tasks.run_command clearsessions</a>",
        "status": status.capitalize(),
        "age": "1\xa0hour",
        "attempts": "7",
    }.items():
        cell = page.split(f'class="field-{column}')[1].split("</t")[0]
        assert text in cell


def test_failed_task_runs_again_on_the_admins_retry(admin_client: Client, tmp_path: object) -> None:
    notes = f"{tmp_path}/notes"
    result = note.enqueue(notes, "done")
    OxTask.objects.filter(pk=result.id).update(
        status="FAILED", attempts=10, finished_at=timezone.now()
    )
    assert run_tasks() == []
    assert ">tests.background.examples.note</a>" in admin_client.get(LIST).text

    admin_client.post(LIST, {"action": "retry_selected", "_selected_action": result.id})

    (ran,) = run_tasks()
    assert ran.id == result.id
    with open(notes) as file:
        assert file.read() == "done\n"

"""Unique tasks: at most one with the same arguments waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier, Event

import pytest
from django.db import connections, transaction
from django.tasks import task
from django_ox.models import OxTask
from django_ox.testing import run_tasks
from structlog.contextvars import bound_contextvars

on_several_connections = pytest.mark.django_db(transaction=True)


@task(unique=True)  # type: ignore[call-overload, untyped-decorator]
def rebuild(name: str) -> None:
    """A task that is not enqueued twice with the same arguments."""


def in_thread[Result](
    threads: ThreadPoolExecutor, function: Callable[[], Result]
) -> Future[Result]:
    """Run a function on a database connection of its own."""

    def run() -> Result:
        try:
            return function()
        finally:
            connections.close_all()

    return threads.submit(run)


@pytest.mark.django_db
def test_unique_task_is_enqueued_once_while_it_waits() -> None:
    first = rebuild.enqueue("a")
    with bound_contextvars(request_id="another request"):
        assert rebuild.enqueue("a").id == first.id
    assert rebuild.enqueue("b").id != first.id
    assert rebuild.enqueue(name="a").id != rebuild.enqueue(name="b").id
    assert len(run_tasks()) == 4


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["RUNNING", "SUCCESSFUL", "FAILED"])
def test_unique_task_is_enqueued_again_once_it_no_longer_waits(status: str) -> None:
    first = rebuild.enqueue("a")
    OxTask.objects.update(status=status)

    second = rebuild.enqueue("a")
    assert second.id != first.id
    assert rebuild.enqueue("a").id == second.id


@on_several_connections
@pytest.mark.parametrize("key", ["new", "known"])
def test_unique_task_is_enqueued_once_by_simultaneous_requests(key: str) -> None:
    if key == "known":
        rebuild.enqueue("a")
        run_tasks()
    requests = 8
    together = Barrier(requests)

    def request() -> str:
        together.wait(10)
        with transaction.atomic():
            result = rebuild.enqueue("a")
            time.sleep(0.05)
        return str(result.id)

    with ThreadPoolExecutor(requests) as threads:
        ids = [in_thread(threads, request) for _ in range(requests)]

    assert len({future.result() for future in ids}) == 1
    assert OxTask.objects.filter(status="READY").count() == 1


@on_several_connections
def test_unique_task_of_a_transaction_that_rolls_back_is_enqueued_by_the_next() -> None:
    enqueued = Event()

    def roll_back() -> None:
        with transaction.atomic():
            rebuild.enqueue("a")
            enqueued.set()
            time.sleep(0.2)
            transaction.set_rollback(True)

    with ThreadPoolExecutor() as threads:
        rolled_back = in_thread(threads, roll_back)
        assert enqueued.wait(10)
        result = rebuild.enqueue("a")
        rolled_back.result()

    assert str(OxTask.objects.get().pk) == result.id


@on_several_connections
def test_waiting_unique_task_runs_after_the_commit_of_a_transaction_that_enqueued_it() -> None:
    """If the task ran earlier, it might not see the rows which that transaction wrote."""
    rebuild.enqueue("a")

    with ThreadPoolExecutor() as threads:
        with transaction.atomic():
            rebuild.enqueue("a")
            assert in_thread(threads, run_tasks).result() == []
        assert len(in_thread(threads, run_tasks).result()) == 1

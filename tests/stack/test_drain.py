"""Stopping a container loses no request: not those in flight, nor those of a rolling deployment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scripts.stack.engine import PROJECT, ROOT, Container, Stack
from tests.stack.figures import figure

DELAY = 3.0  # seconds; ECS's defaults would only make the tests longer
GUNICORN = ("gunicorn", "--config", "/app/docker/gunicorn.conf.py", "slow:application")

type Start = Callable[[str], Container]


@pytest.fixture
def start(stack: Stack) -> Iterator[Start]:
    """Start a container, by name, of the site with a slow address."""
    started: list[Container] = []

    def start_one(name: str) -> Container:
        container = stack.start(
            *GUNICORN,
            env={"DRAIN_DELAY": str(DELAY), "PYTHONPATH": "/app/src:/tests"},
            options=(
                "--name",
                f"{PROJECT}-{name}",
                "--volume",
                f"{ROOT}/tests/stack/apps:/tests:ro",
            ),
        )
        started.append(container)
        return container.wait_ready()

    yield start_one
    for container in started:
        container.remove()


def in_background(stack: Stack, *arguments: str) -> Callable[[], Any]:
    """Run load.py; return a function that waits for its figures."""
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.append(stack.client("tests/stack/load.py", *arguments, timeout=180))
    )
    thread.start()

    def wait() -> Any:
        thread.join()
        assert found, "the load failed"
        return found[0]

    return wait


def test_a_stopped_container_finishes_what_is_in_flight(stack: Stack, start: Start) -> None:
    container = start("stopped")
    load = in_background(stack, "watch", f"{PROJECT}-stopped", "6")
    time.sleep(3)
    container.docker("stop", "--time", "30")
    figures = load()
    figure("drain", "requests in flight at SIGTERM", f"{len(figures['flight'])} sent")
    assert figures["flight"] == [200] * 20
    assert container.inspect()["State"]["ExitCode"] == 0

    seen = figures["seen"]
    before = [row for row in seen if row[1] == 200]
    draining = [row for row in seen if row[1] == 503]
    assert before, "the load began too late"
    # No worker said 200 again, and all served pages for the delay, before the port closed.
    assert [row[1] for row in seen] == [200] * len(before) + [503] * len(draining) + [0]
    assert draining[-1][0] - draining[0][0] > DELAY * 0.6
    assert {row[2] for row in before + draining[:-1]} == {200}


def test_a_rolling_deployment_loses_nothing(stack: Stack, start: Start) -> None:
    old = [start("old-1"), start("old-2")]
    names = [f"{PROJECT}-{name}" for name in ("old-1", "old-2", "new-1", "new-2")]
    load = in_background(stack, "balance", "1000", *names)
    for number, container in enumerate(old, 1):
        start(f"new-{number}")
        container.docker("stop", "--time", "30")
        assert container.inspect()["State"]["ExitCode"] == 0
    figures = load()
    sent = sum(figures["served"].values())
    figure("drain", "two replicas replaced", f"{sent} sent, {len(figures['failures'])} failed")
    assert figures["failures"] == []
    assert sent >= 1000
    assert all(figures["served"].values())

"""Stopping a container loses no request, whether in progress or sent during a deployment."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from scripts.stack.engine import PROJECT, ROOT, Container, Stack
from tests.stack.figures import figure

DELAY = 3.0  # seconds; ECS's defaults would only make the tests longer
STREAMS = 10
GUNICORN = ("gunicorn", "--config", "/app/docker/gunicorn.conf.py", "slow:application")
APPS = ("--volume", f"{ROOT}/tests/stack/apps:/apps:ro")
PYTHONPATH = {"PYTHONPATH": "/app/src:/apps"}

type Start = Callable[[str], Container]


@pytest.fixture
def start(stack: Stack) -> Iterator[Start]:
    """A function that starts a container with the given name, whose site has a slow URL."""
    started: list[Container] = []

    def start_one(name: str) -> Container:
        container = stack.start(
            *GUNICORN,
            env={"DRAIN_DELAY": str(DELAY), **PYTHONPATH},
            options=("--name", f"{PROJECT}-{name}", *APPS),
        )
        started.append(container)
        return container.wait_ready()

    yield start_one
    for container in started:
        container.remove()


def in_background(stack: Stack, *arguments: str) -> Callable[[], Any]:
    """Run load.py; return a function that waits for its results."""
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.append(stack.client("tests/stack/load.py", *arguments, timeout=180))
    )
    thread.start()

    def wait() -> Any:
        thread.join()
        assert found, "load.py failed"
        return found[0]

    return wait


def test_stopped_container_finishes_requests_in_progress(stack: Stack, start: Start) -> None:
    container = start("stopped")
    load = in_background(stack, "watch", f"{PROJECT}-stopped", "6")
    time.sleep(3)
    container.docker("stop", "--time", "30")
    results = load()
    figure("drain", "requests in progress at SIGTERM", f"{len(results['slow'])} answered")
    assert results["slow"] == [200] * 20
    assert container.inspect()["State"]["ExitCode"] == 0

    seen = results["seen"]
    before = [row for row in seen if row[1] == 200]
    draining = [row for row in seen if row[1] == 503]
    assert before, "the load began too late"
    # No worker became ready again, and all served pages for DRAIN_DELAY before the port closed.
    assert [row[1] for row in seen] == [200] * len(before) + [503] * len(draining) + [0]
    assert draining[-1][0] - draining[0][0] > DELAY * 0.6
    assert {row[2] for row in before + draining[:-1]} == {200}


def test_rolling_deployment_loses_no_request(stack: Stack, start: Start) -> None:
    old = [start("old-1"), start("old-2")]
    names = [f"{PROJECT}-{name}" for name in ("old-1", "old-2", "new-1", "new-2")]
    load = in_background(stack, "balance", "1000", *names)
    for number, container in enumerate(old, 1):
        start(f"new-{number}")
        container.docker("stop", "--time", "30")
        assert container.inspect()["State"]["ExitCode"] == 0
    results = load()
    sent = sum(results["served"].values())
    figure("drain", "two replicas replaced", f"{sent} sent, {len(results['failures'])} failed")
    assert results["failures"] == []
    assert sent >= 1000
    # The load balancer also sent requests to targets that were already draining.
    assert results["draining"] > 20
    assert all(results["served"].values())


def test_open_streams_are_closed_before_the_container_is_killed(stack: Stack) -> None:
    """Uses the default DRAIN_DELAY and GRACEFUL_TIMEOUT, and ECS's default stopTimeout."""
    container = stack.start(
        env={"DJANGO_SETTINGS_MODULE": "extra_settings", **PYTHONPATH}, options=APPS
    ).wait_ready()
    try:
        with ExitStack() as streams:
            for number in range(STREAMS):
                url = f"{container.url}/endless/{('sync', 'async')[number % 2]}/"
                stream = streams.enter_context(urllib.request.urlopen(url, timeout=40))
                assert stream.readline() == b"data: event\n"
            start = time.monotonic()
            container.docker("stop", "--time", "30")
            seconds = time.monotonic() - start
        figure(
            "drain", f"{STREAMS} open streams at SIGTERM", f"exit status 0 after {seconds:.1f} s"
        )
        assert container.inspect()["State"]["ExitCode"] == 0
        records = container.records()
        closed = [each for each in records if each["message"] == "The stream was closed"]
        logged = [
            each
            for each in records
            if each["logger"] == "access" and each["path"].startswith("/endless/")
        ]
        assert len(closed) == len(logged) == STREAMS
        # Every worker ended by itself.
        exited = [each for each in records if each["message"].startswith("Worker exiting")]
        assert len(exited) == 2
    finally:
        container.remove()

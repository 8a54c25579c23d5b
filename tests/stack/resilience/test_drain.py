"""Neither the stop of a container nor a deployment loses a request."""

from __future__ import annotations

import shutil
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from scripts.stack.engine import PROJECT, ROOT, Container, Stack, run, wait_for
from tests.stack.figures import figure

DELAY = 3.0  # seconds; ECS's defaults would only make the tests longer
STREAMS = 10
GUNICORN = ("gunicorn", "--config", "/app/docker/gunicorn.conf.py", "slow:application")
APPS = ("--volume", f"{ROOT}/tests/stack/apps:/apps:ro")
PYTHONPATH = {"PYTHONPATH": "/app/src:/apps"}

# The releases of docs/migrations.md. Each folder has the files that differ from the release before.
RELEASES = ROOT / "tests/stack/apps/releases"
FORGET_RELEASES = """
DROP TABLE IF EXISTS entries_entry;
DROP FUNCTION IF EXISTS entries_copy;
DELETE FROM django_migrations WHERE app = 'entries';
DELETE FROM auth_permission USING django_content_type
  WHERE content_type_id = django_content_type.id AND app_label = 'entries';
DELETE FROM django_content_type WHERE app_label = 'entries';
"""


class Start(Protocol):
    """Starts a container with the given name, whose site has a slow URL."""

    def __call__(self, name: str, release: Release | None = None) -> Container: ...


class Release(NamedTuple):
    """A release of the site that has an app of its own."""

    folder: Path

    @property
    def options(self) -> tuple[str, ...]:
        """Options of `docker compose run`."""
        return ("--volume", f"{self.folder}:/release:ro")

    @property
    def env(self) -> dict[str, str]:
        return {
            "DJANGO_SETTINGS_MODULE": "release_settings",
            "PYTHONPATH": f"{PYTHONPATH['PYTHONPATH']}:/release",
        }

    def migrate(self, stack: Stack) -> None:
        """Run the release's migrate container."""
        container = stack.start(service="migrate", env=self.env, options=self.options)
        status = run("docker", "wait", container.id).stdout.strip()
        logs = container.logs()
        container.remove()
        assert status == "0", logs


@pytest.fixture
def start(stack: Stack) -> Iterator[Start]:
    """A function that starts containers, which are removed at the end."""
    started: list[Container] = []

    def start_one(name: str, release: Release | None = None) -> Container:
        container = stack.start(
            *GUNICORN,
            env={"DRAIN_DELAY": str(DELAY), **(release.env if release else PYTHONPATH)},
            options=(
                *("--name", f"{PROJECT}-{name}"),
                *APPS,
                *(release.options if release else ()),
            ),
        )
        started.append(container)
        return container

    yield start_one
    for container in started:
        container.remove()


@pytest.fixture
def releases(stack: Stack) -> Iterator[list[Release]]:
    """The releases, oldest first. Their table is dropped at the end."""
    # The engine can mount the clone's folder, but perhaps not pytest's.
    folder = ROOT / ".local/test-stack/releases"
    shutil.rmtree(folder, ignore_errors=True)
    made: list[Release] = []
    for changes in sorted(RELEASES.iterdir()):
        if made:
            shutil.copytree(made[-1].folder, folder / changes.name)
        shutil.copytree(changes, folder / changes.name, dirs_exist_ok=True)
        made.append(Release(folder / changes.name))
    yield made
    stack.sql(FORGET_RELEASES)


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
    container = start("stopped").wait_ready()
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


def test_deployment_that_replaces_a_column_loses_no_request(
    stack: Stack, start: Start, releases: list[Release]
) -> None:
    first, second, third = releases
    old = [start(f"old-{number}", first) for number in (1, 2)]
    first.migrate(stack)
    for container in old:
        container.wait_ready()
    names = [f"{PROJECT}-{name}" for name in ("old-1", "old-2", "new-1", "new-2")]
    load = in_background(stack, "balance", "1000", *names)
    wait_for(lambda: stack.sql("SELECT count(*) > 20 FROM entries_entry") == "t", 30)
    # Expand.
    second.migrate(stack)
    # Deploy, as ECS does by default: the new replicas are ready before the old ones stop.
    new = [start(f"new-{number}", second) for number in (1, 2)]
    for container in new:
        container.wait_ready()
    run("docker", "stop", "--time", "30", *(container.id for container in old))
    assert [container.inspect()["State"]["ExitCode"] for container in old] == [0, 0]
    # Contract.
    third.migrate(stack)
    new[0].docker("stop", "--time", "30")
    results = load()
    sent = sum(results["served"].values())
    failed = len(results["failures"])
    figure("drain", "two replicas and a column replaced", f"{sent} sent, {failed} failed")
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

"""Fixtures of the stack tests: one stack, built and started once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from scripts.stack.engine import PROJECT, ROOT, Container, Stack, run
from tests.stack import figures


@pytest.fixture(scope="session")
def images() -> Iterator[Stack]:
    """Both targets' images, built in the stack tests' own project. Nothing runs yet."""
    stack = Stack(ROOT / ".local" / "test-stack" / "logs")
    yield stack
    stack.keep_logs()
    stack.remove()
    run("docker", "rmi", "--force", f"{PROJECT}-dev", f"{PROJECT}-ecs")


@pytest.fixture(scope="session")
def stack(images: Stack) -> Stack:
    """The running ecs stack. A test that breaks a part of it must repair that part."""
    images.up()
    images.watch_idle_connection()
    return images


@pytest.fixture
def web(stack: Stack) -> Container:
    """The web container of the shared stack."""
    return stack.container("web")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests marked `last`, which check the logs of the shared stack, at its end."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]
    """Runs the tests of the shared stack in one process, and projects/ beside them in another."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0].rpartition("/")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFolder:
    """Choose the scheduler for --numprocesses."""
    return ByFolder(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the measured figures to the process that prints them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = figures.ROWS


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Receive the figures of one process."""
    figures.ROWS += map(tuple, getattr(node, "workeroutput", {}).get("figures", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the measured figures."""
    if figures.ROWS:
        terminalreporter.section("Measured behaviour under load and faults")
        for line in figures.table():
            terminalreporter.line(line)

"""Fixtures of the stack tests: a stack, built and started once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from scripts.stack.engine import PROJECT, Container, Stack, run
from tests.stack import figures
from tests.stack.built import built_stack


@pytest.fixture(scope="session")
def images() -> Iterator[Stack]:
    """Both targets' images, built in the stack tests' own project. Nothing runs yet."""
    with built_stack(PROJECT) as stack:
        yield stack


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


class ByStack(LoadScopeScheduling):  # type: ignore[misc]
    """Runs the tests that share a stack, and each file of projects/, in one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return file if folder.endswith("/projects") else folder


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByStack:
    """Choose the scheduler for --numprocesses."""
    return ByStack(config, log)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Make the certificates before several processes need them."""
    if not hasattr(session.config, "workerinput"):
        run("sh", "scripts/certificates", ".local/tls")


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

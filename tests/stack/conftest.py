"""Fixtures of the stack tests: one stack, built and started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
    """Run the tests marked `last`, which check the logs of the whole suite, at the end."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the measured figures."""
    if figures.ROWS:
        terminalreporter.section("Measured behaviour under load and faults")
        for line in figures.table():
            terminalreporter.line(line)

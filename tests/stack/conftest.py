"""What all stack tests share: one stack, built and started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.stack.engine import PROJECT, ROOT, Container, Stack, run
from tests.stack import figures


@pytest.fixture(scope="session")
def images() -> Iterator[Stack]:
    """Both targets, built under the stack tests' own project; nothing runs yet."""
    stack = Stack(ROOT / ".local" / "test-stack" / "logs")
    yield stack
    stack.keep_logs()
    stack.remove()
    run("docker", "rmi", "--force", f"{PROJECT}-dev", f"{PROJECT}-ecs")


@pytest.fixture(scope="session")
def stack(images: Stack) -> Stack:
    """The ecs stack, up and ready. A test that breaks a part of it mends it again."""
    images.up()
    images.watch_idle_connection()
    return images


@pytest.fixture
def web(stack: Stack) -> Container:
    """The web container of the shared stack."""
    return stack.container("web")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what judges the logs of the whole suite last."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    if figures.ROWS:
        terminalreporter.section("What was broken on purpose, and what came of it")
        for line in figures.table():
            terminalreporter.line(line)

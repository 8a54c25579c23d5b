"""README's commands, run as they stand there, in their order, in one fresh clone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from scripts.stack import engine
from scripts.stack.clone import Clone

PROJECT = f"{engine.PROJECT}-readme"
WEB_PORT = 8790
README = (engine.ROOT / "README.md").read_text()
# What bears no language is a drawing.
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINES = [line for _, block in BLOCK.findall(README) for line in block.splitlines()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A fresh clone, deleted with all that was started."""
    clone = Clone(tmp_path_factory.mktemp("readme") / "methodhub", PROJECT, WEB_PORT)
    yield clone
    clone.remove()


def test_every_block_is_of_commands() -> None:
    assert {language for language, _ in BLOCK.findall(README)} == {"sh"}


@pytest.mark.parametrize("line", LINES)
def test_a_command_does_what_the_readme_says(clone: Clone, line: str) -> None:
    done = clone.run("sh", "-euc", line)
    assert done.returncode == 0
    promised = line.partition("# you should see: ")[2]
    assert promised, "a command without a promise"
    assert promised.replace("localhost:8000", f"localhost:{WEB_PORT}") in done.stdout

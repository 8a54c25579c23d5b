"""Runs the README's commands in order, in one fresh clone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from scripts.stack import engine
from scripts.stack.clone import Clone

PROJECT = f"{engine.PROJECT}-readme"
WEB_PORT = 8790
README = (engine.ROOT / "README.md").read_text()
# Code blocks without a language are diagrams.
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINES = [line for _, block in BLOCK.findall(README) for line in block.splitlines()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A fresh clone, removed with its stack at the end."""
    clone = Clone(tmp_path_factory.mktemp("readme") / "methodhub", PROJECT, WEB_PORT)
    yield clone
    clone.remove()


def test_every_code_block_is_shell() -> None:
    assert {language for language, _ in BLOCK.findall(README)} == {"sh"}


@pytest.mark.parametrize("line", LINES)
def test_command_prints_what_readme_promises(clone: Clone, line: str) -> None:
    done = clone.run("sh", "-euc", line)
    assert done.returncode == 0
    promised = line.partition("# you should see: ")[2]
    assert promised, "the README does not say what this command prints"
    assert promised.replace("localhost:8000", f"localhost:{WEB_PORT}") in done.stdout

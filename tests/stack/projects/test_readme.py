"""Runs the commands of the README and of docs/mcp.md in order, in one fresh clone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from scripts.stack import engine
from scripts.stack.clone import Clone

PROJECT = f"{engine.PROJECT}-readme"
WEB_PORT = 8790
PAGES = [(engine.ROOT / name).read_text() for name in ("README.md", "docs/mcp.md")]
# Code blocks without a language are diagrams.
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [found for page in PAGES for found in BLOCK.findall(page)]
LINES = [
    line.replace("localhost:8000", f"localhost:{WEB_PORT}")
    for _, block in BLOCKS
    for line in block.splitlines()
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A fresh clone, removed with its stack at the end."""
    clone = Clone(tmp_path_factory.mktemp("readme") / "methodhub", PROJECT, WEB_PORT)
    yield clone
    clone.remove()


def test_every_code_block_is_shell() -> None:
    assert {language for language, _ in BLOCKS} == {"sh"}


@pytest.mark.parametrize("line", LINES)
def test_command_prints_what_the_page_promises(clone: Clone, line: str) -> None:
    # `make test` runs a part here. CI runs the whole suite.
    done = clone.run("sh", "-euc", line, T="tests/home")
    assert done.returncode == 0
    promised = line.partition("# you should see: ")[2]
    assert promised, "the page does not say what this command prints"
    assert promised in done.stdout

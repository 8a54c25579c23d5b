"""The check of the Markdown files' links."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.lint_links import dead_links

PAGE = """
# One page

[file](other.md) [heading](other.md#a-connection-pooler-1) [own](#one-page) ![image](image.png)
[web](https://example.com/missing) `[code](missing.md)`

{}
"""
OTHER = """
## A connection pooler
## A `connection` pooler!
"""


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("", None),
        ("[file](missing.md)", "missing.md leads to no file"),
        ("![image](missing.png)", "missing.png leads to no file"),
        ("| table |\n| --- |\n| [file](missing.md) |", "missing.md leads to no file"),
        ("[heading](other.md#pooler)", "other.md#pooler names no heading"),
        ("[heading](other.md#a-connection-pooler-2)", "names no heading"),
        ("[own](#two-pages)", "#two-pages names no heading"),
    ],
)
def test_only_links_without_target_are_dead(tmp_path: Path, link: str, problem: str | None) -> None:
    (tmp_path / "other.md").write_text(OTHER)
    (tmp_path / "image.png").touch()
    page = tmp_path / "page.md"
    page.write_text(PAGE.format(link))
    found = list(dead_links(page))
    assert len(found) == bool(problem)
    assert not problem or problem in found[0]

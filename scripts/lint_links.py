"""Check that the relative links of all Markdown files lead to a file, and to a heading in it.

Web addresses are not requested.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

IGNORED_FOLDERS = {".git", ".local"}


def pages() -> Iterator[Path]:
    """Yield the Markdown files below the current directory."""
    for folder, folders, files in Path().walk():
        folders[:] = sorted(set(folders) - IGNORED_FOLDERS)
        yield from (folder / name for name in sorted(files) if name.endswith(".md"))


@functools.cache
def tokens(page: Path) -> list[Token]:
    """Return the tokens of a page; an inline token is followed by its own children."""
    parsed = MarkdownIt().enable("table").parse(page.read_text())
    return [token for block in parsed for token in (block, *(block.children or ()))]


@functools.cache
def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    found: list[str] = []
    for token, title in zip(tokens(page), tokens(page)[1:], strict=False):
        if token.type == "heading_open":
            text = "".join(child.content for child in title.children or ())
            found.append(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-"))
    return {
        anchor + (f"-{before}" if (before := found[:number].count(anchor)) else "")
        for number, anchor in enumerate(found)
    }


def dead_links(page: Path) -> Iterator[str]:
    """Yield a message for each relative link or image that leads nowhere."""
    for token in tokens(page):
        link = str(token.attrGet("href") or token.attrGet("src") or "")
        parts = urlsplit(link)
        if not link or parts.scheme or parts.netloc:
            continue
        target = page.parent / unquote(parts.path) if parts.path else page
        if not target.exists():
            yield f"{page}: the link {link} leads to no file. Correct the path."
        elif target.suffix == ".md" and parts.fragment and parts.fragment not in anchors(target):
            yield f"{page}: the link {link} names no heading of {target}. Correct the anchor."


if __name__ == "__main__":
    problems = [problem for page in pages() for problem in dead_links(page)]
    print("\n".join(problems), end="\n" if problems else "")
    raise SystemExit(bool(problems))

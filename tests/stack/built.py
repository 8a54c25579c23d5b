"""The images and the containers that tests share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from scripts.stack.engine import ROOT, Stack


@contextlib.contextmanager
def built_stack(project: str) -> Iterator[Stack]:
    """Build both targets' images in a Compose project, and remove all of it at the end."""
    stack = Stack(ROOT / ".local" / "test-stack" / project, project)
    yield stack
    stack.keep_logs()
    stack.remove()
    stack.remove_images()

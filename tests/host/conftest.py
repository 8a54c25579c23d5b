"""Clones for the tests. Afterwards they are stopped, and no process may be left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.host.clone import Clone

type MakeClone = Callable[..., Clone]


@pytest.fixture(scope="module")
def make_clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeClone]:
    """Return a function that makes clones, in a folder that only this user may enter."""
    clones = []

    def make(name: str = "clone", **options: bool) -> Clone:
        clone = Clone(tmp_path_factory.mktemp("host") / name, **options)
        clones.append(clone)
        return clone

    yield make
    for clone in clones:
        clone.make("down")
        assert running_below(clone.folder) == []


def running_below(folder: Path) -> list[str]:
    """Return the processes whose working directory is in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                found.append(f"{process.pid} {process.name()}")
        except psutil.Error:
            continue
    return found

"""scripts/reproducible.py, on archives like the layers of two images."""

from __future__ import annotations

import io
import tarfile

import pytest

from scripts.reproducible import Entry, differences, entries

COMMITTED = 1_000_000


def layer(*files: tuple[str, bytes, int, int]) -> dict[str, Entry]:
    """Return the entries of a layer with files of this name, content, mode and time."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content, mode, modified in files:
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), mode, modified
            tar.addfile(member, io.BytesIO(content))
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        return dict(entries(tar))


FILE = ("app/a", b"one", 0o644, COMMITTED)


@pytest.mark.parametrize(
    ("other", "found"),
    [
        ([("app/a", b"two", 0o644, COMMITTED)], ["/app/a: content"]),
        ([("app/a", b"one", 0o755, COMMITTED)], ["/app/a: mode"]),
        ([], ["/app/a: in one image only"]),
        ([FILE, ("app/b", b"", 0o644, COMMITTED)], ["/app/b: in one image only"]),
        ([("app/a", b"one", 0o644, COMMITTED - 1)], ["/app/a: modified"]),
    ],
    ids=["content", "mode", "missing", "added", "time before the commit"],
)
def test_difference_between_two_builds_is_named(
    other: list[tuple[str, bytes, int, int]], found: list[str]
) -> None:
    assert differences(layer(FILE), layer(*other), COMMITTED) == found


def test_time_of_the_build_is_no_difference() -> None:
    one, other = (
        layer(
            ("app/a", b"one", 0o644, built),
            ("app/a.pyc", b"magicxxx" + built.to_bytes(4, "little") + b"code", 0o644, built),
        )
        for built in (COMMITTED + 1, COMMITTED + 2)
    )
    assert differences(one, other, COMMITTED) == []

"""The figures that tests measure on the way, for the table at the end of the run."""

from __future__ import annotations

ROWS: list[tuple[str, str, str]] = []


def figure(property_: str, broken: str, measured: str) -> None:
    """Note what was measured of a property while something was broken on purpose."""
    ROWS.append((property_, broken, measured))


def table() -> list[str]:
    """Return the rows as lines, each column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in ROWS) for column in range(2)] if ROWS else []
    return ["  ".join([row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2]]) for row in ROWS]

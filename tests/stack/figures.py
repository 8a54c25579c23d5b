"""Figures that the tests measure, printed as a table at the end of the run."""

from __future__ import annotations

ROWS: list[tuple[str, str, str]] = []


def figure(property_: str, broken: str, measured: str) -> None:
    """Record the measured value of a property under the load or fault that ``broken`` names."""
    ROWS.append((property_, broken, measured))


def table() -> list[str]:
    """Return the rows as aligned lines of text."""
    widths = [max(len(row[column]) for row in ROWS) for column in range(2)] if ROWS else []
    return ["  ".join([row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2]]) for row in ROWS]

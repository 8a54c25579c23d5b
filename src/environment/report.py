"""The table that a process prints instead of starting in a broken environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from environment.declaration import Target, Variable

TARGET_FILES: dict[Target, str] = {"dev": "env/dev.env", "ecs": "env/ecs-local.env"}


class Problem(NamedTuple):
    """One row of the table. An empty ``expected`` stands for the variable's declared one."""

    variable: str
    wrong: str
    expected: str = ""
    where: str = ""


def table(problems: Sequence[Problem]) -> str:
    """Return a sentence with the number of problems, and a table with a row for each."""
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    heading = Problem("Variable", "What is wrong", "Expected", "Where it is set")
    return f"The environment has {count}; nothing was started.\n\n" + aligned_columns(
        [heading, *sorted(problems)]
    )


def aligned_columns(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as lines of text, with the cells aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        + "\n"
        for row in rows
    )


def location(variable: Variable, source: str, target: Target | None) -> str:
    """Return the file that NAME_FILE names, or else the place where the variable belongs."""
    if source.startswith(variable.name):
        return source
    if variable.place == "image":
        return "the image (docker/Dockerfile)"
    if variable.place == "target":
        file = TARGET_FILES[target or "ecs"]
    else:
        file = f"env/{variable.place}.env"
    return file if target == "dev" else f"{file}, or the task definition"

"""Figures, their targets, and the files that store them."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Target:
    """A limit for a figure, judged by its median or its worst run."""

    sense: Literal["at most", "at least"]
    limit: float
    by: Literal["median", "worst"] = "median"


@dataclasses.dataclass(frozen=True)
class Figure:
    """One row of the table: a quantity and its value in each run."""

    what: str
    unit: str
    values: list[float]
    target: Target | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def judged(self) -> float:
        """The value that is compared with the target."""
        if self.target is None or self.target.by == "median":
            return self.median
        return max(self.values) if self.target.sense == "at most" else min(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        if self.target.sense == "at most":
            return self.judged <= self.target.limit
        return self.judged >= self.target.limit


@dataclasses.dataclass(frozen=True)
class Result:
    """The figures of one group, a description, and the machine they were measured on."""

    group: str
    about: str
    machine: dict[str, str]
    figures: list[Figure]


def at_most(limit: float, by: Literal["median", "worst"] = "median") -> Target:
    """Return an upper limit."""
    return Target("at most", limit, by)


def at_least(limit: float) -> Target:
    """Return a lower limit."""
    return Target("at least", limit)


def ratios(values: Iterable[float], others: Iterable[float]) -> list[float]:
    """Return the ratio of each pair of runs; paired runs follow each other on the same machine."""
    return [value / other for value, other in zip(values, others, strict=True)]


def save(result: Result, folder: Path) -> None:
    """Write a group's result, replacing its previous one."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dataclasses.asdict(result), indent=1, ensure_ascii=False)
    new = folder / f"{result.group}.json.new"
    new.write_text(text + "\n")
    new.replace(folder / f"{result.group}.json")


def load(folder: Path, order: Sequence[str]) -> list[Result]:
    """Return the saved results of the named groups, in that order."""
    files = [folder / f"{group}.json" for group in order]
    return [_result(json.loads(file.read_text())) for file in files if file.exists()]


def _result(data: dict[str, Any]) -> Result:
    figures = [
        Figure(**figure | {"target": figure["target"] and Target(**figure["target"])})
        for figure in data["figures"]
    ]
    return Result(**data | {"figures": figures})


def number(value: float) -> str:
    """Format a value with three significant digits: 0.123, 4.56, 78.9 or 1,234."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"


HEADING = ["what", "target", "median", "min", "max", "runs", "met"]


def rows(result: Result) -> list[list[str]]:
    """Return the table cells of a group, one list per figure."""
    found = []
    for figure in result.figures:
        target, unit = figure.target, f" {figure.unit}" if figure.unit else ""
        limit = f"{'≤' if target.sense == 'at most' else '≥'} {target.limit:g}" if target else ""
        worst = ", worst" if target and target.by == "worst" else ""
        found.append(
            [
                figure.what,
                f"{limit}{unit}{worst}" if target else "",
                f"{number(figure.median)}{unit}",
                number(min(figure.values)),
                number(max(figure.values)),
                str(len(figure.values)),
                {True: "yes", False: "no", None: ""}[figure.met],
            ]
        )
    return found


def table(results: Sequence[Result]) -> str:
    """Return all figures as one aligned text table."""
    lines = [["group", *HEADING]]
    lines += [[result.group, *row] for result in results for row in rows(result)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def markdown(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    body = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"| {' | '.join(heading)} |\n|{' --- |' * len(heading)}\n{body}"

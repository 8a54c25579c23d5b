"""make bench's table and pages, from figures that nobody measured."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts.bench import report, results
from scripts.bench.results import Figure, Result, at_least, at_most

MACHINE = {"processor": "none", "measured": "2026-01-01"}
START = Result(
    "start",
    "From the command to its end.",
    MACHINE,
    [
        Figure("up", "s", [3.0, 1.0, 2.0], at_most(2.5)),
        Figure("up, worst", "s", [3.0, 1.0, 2.0], at_most(2.5, by="worst")),
    ],
)
REQUESTS = Result(
    "requests",
    "wrk.",
    MACHINE | {"measured": "2026-01-02"},
    [Figure("ours & <theirs>", "×", [2.0, 0.5], at_least(1)), Figure("ours", "req/s", [1234.5])],
)


def test_results_come_back_from_their_files_in_order(tmp_path: Path) -> None:
    for result in (START, REQUESTS):
        results.save(result, tmp_path)
    assert results.load(tmp_path, ["requests", "none", "start"]) == [REQUESTS, START]


def test_a_group_measured_again_takes_the_place_of_its_former_result(tmp_path: Path) -> None:
    results.save(START, tmp_path)
    again = Result("start", "", MACHINE, [])
    results.save(again, tmp_path)
    assert results.load(tmp_path, ["start"]) == [again]


def test_the_table_has_median_range_runs_and_whether_the_target_is_met() -> None:
    lines = [line.split("  ") for line in results.table([START, REQUESTS]).splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells == [
        ["group", "what", "target", "median", "min", "max", "runs", "met"],
        ["start", "up", "≤ 2.5 s", "2.00 s", "1.00", "3.00", "3", "yes"],
        ["start", "up, worst", "≤ 2.5 s, worst", "2.00 s", "1.00", "3.00", "3", "no"],
        ["requests", "ours & <theirs>", "≥ 1 ×", "1.25 ×", "0.500", "2.00", "2", "yes"],
        ["requests", "ours", "1,234 req/s", "1,234", "1,234", "1"],
    ]


def test_ratios_are_of_runs_that_followed_each_other() -> None:
    assert results.ratios([2, 9], [1, 3]) == [2, 3]
    with pytest.raises(ValueError, match="shorter"):
        results.ratios([1, 2], [1])


def test_the_page_and_the_pictures_are_written(tmp_path: Path) -> None:
    report.write([START, REQUESTS], tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "| up | ≤ 2.5 s | 2.00 s | 1.00 | 3.00 | 3 | yes |" in page
    # What another run measured says so.
    assert "wrk. (measured: 2026-01-02)" in page
    for group in ("start", "requests"):
        assert f"({group}.svg)" in page
        picture = ElementTree.parse(tmp_path / f"{group}.svg").getroot()  # noqa: S314 - ours
        assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    drawn = " ".join(picture.itertext())
    assert "ours & <theirs>" in drawn
    assert "1.25 × ✓" in drawn

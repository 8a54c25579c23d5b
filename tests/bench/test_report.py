"""make bench's table and pages, from figures that nobody measured."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts.bench import report, results, scaling
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
    (tmp_path / "scaling.md").write_text("nothing measured")
    report.write([START, REQUESTS], tmp_path)
    folder = tmp_path / "benchmarks"
    page = (folder / "README.md").read_text()
    assert "| up | ≤ 2.5 s | 2.00 s | 1.00 | 3.00 | 3 | yes |" in page
    # What another run measured says so.
    assert "wrk. (measured: 2026-01-02)" in page
    for group in ("start", "requests"):
        assert f"({group}.svg)" in page
        picture = ElementTree.parse(folder / f"{group}.svg").getroot()  # noqa: S314 - ours
        assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    drawn = " ".join(picture.itertext())
    assert "ours & <theirs>" in drawn
    assert "1.25 × ✓" in drawn


def test_the_tables_of_scaling_follow_from_the_costs() -> None:
    costs = {
        "page: web": 5.0,
        "page: postgres": 0.5,
        "page: redis": 0.1,
        "page: transactions": 1.0,
        "page: Redis commands": 1.0,
        "round trip to PostgreSQL": 1.0,
        "new connection: postgres": 4.5,
        "idle connection: postgres": 2.0,
    }
    measured = Result("costs", "", MACHINE, [Figure(k, "ms", [v]) for k, v in costs.items()])
    old = f"Before.\n{report.BEGIN}\nold\n{report.END}\nAfter.\n"
    text = report.scaling_page(old, [START, measured])
    assert text.startswith("Before.\n")
    assert text.endswith("After.\n")
    assert "old" not in text
    # Half a core in 5 ms pieces; 60 % of it; 97 connections in tasks of 18.
    assert "| a task, its processor full | 100 pages/s |" in text
    assert "| 5 tasks, 300 pages/s |" in text
    assert "| the same without a pool | 200 pages/s |" in text
    # 10,000 pages a second at 60 a task: 167 tasks of 18 connections, or of 8.
    assert (
        "| 10,000 | 167 | 20.0 | 3,006 (6.0 GB) | 1,336 (2.7 GB) | 5.00 | 10,000 | 1.00 |" in text
    )
    assert report.scaling_page(old, [START]) == old


def test_in_the_simulation_a_pool_of_one_costs_time_and_all_requests_are_answered() -> None:
    one, eight = (scaling.simulate(10, 2, 0.8, pool, requests=5000) for pool in (1, 8))
    assert len(one) == len(eight) == 5000
    assert sum(one) > sum(eight)
    # Nothing is quicker than what it asks for: the wait for PostgreSQL.
    assert min(one[0], eight[0]) > 2

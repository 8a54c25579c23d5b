"""The benchmark report, from made-up figures."""

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


def test_saved_results_load_in_the_given_order(tmp_path: Path) -> None:
    for result in (START, REQUESTS):
        results.save(result, tmp_path)
    assert results.load(tmp_path, ["requests", "none", "start"]) == [REQUESTS, START]


def test_saving_a_group_again_replaces_its_result(tmp_path: Path) -> None:
    results.save(START, tmp_path)
    again = Result("start", "", MACHINE, [])
    results.save(again, tmp_path)
    assert results.load(tmp_path, ["start"]) == [again]


def test_table_shows_median_range_runs_and_target() -> None:
    lines = [line.split("  ") for line in results.table([START, REQUESTS]).splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells == [
        ["group", "what", "target", "median", "min", "max", "runs", "met"],
        ["start", "up", "≤ 2.5 s", "2.00 s", "1.00", "3.00", "3", "yes"],
        ["start", "up, worst", "≤ 2.5 s, worst", "2.00 s", "1.00", "3.00", "3", "no"],
        ["requests", "ours & <theirs>", "≥ 1 ×", "1.25 ×", "0.500", "2.00", "2", "yes"],
        ["requests", "ours", "1,234 req/s", "1,234", "1,234", "1"],
    ]


def test_ratios_pair_consecutive_runs() -> None:
    assert results.ratios([2, 9], [1, 3]) == [2, 3]
    with pytest.raises(ValueError, match="shorter"):
        results.ratios([1, 2], [1])


def test_page_and_charts_are_written(tmp_path: Path) -> None:
    (tmp_path / "scaling.md").write_text("no costs measured")
    report.write([START, REQUESTS], tmp_path)
    folder = tmp_path / "benchmarks"
    page = (folder / "README.md").read_text()
    assert "| up | ≤ 2.5 s | 2.00 s | 1.00 | 3.00 | 3 | yes |" in page
    # A group measured on another day names that day.
    assert "wrk. (measured: 2026-01-02)" in page
    for group in ("start", "requests"):
        assert f"({group}.svg)" in page
        picture = ElementTree.parse(folder / f"{group}.svg").getroot()  # noqa: S314 - ours
        assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    drawn = " ".join(picture.itertext())
    assert "ours & <theirs>" in drawn
    assert "1.25 × ✓" in drawn


def test_scaling_tables_follow_from_costs() -> None:
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
    # Half a core at 5 ms a page; 60 % of it; 97 connections at 18 a task.
    assert "| a task at 100% CPU | 100 pages/s |" in text
    assert "| 5 tasks, 300 pages/s |" in text
    assert "| a core of PostgreSQL, without a pool | 200 pages/s |" in text
    # 10,000 pages per second at 60 per task: 167 tasks with 18 or 8 connections each.
    assert (
        "| 10,000 | 167 | 20.0 | 3,006 (6.0 GB) | 1,336 (2.7 GB) | 5.00 | 10,000 | 1.00 |" in text
    )
    assert report.scaling_page(old, [START]) == old


def test_simulated_pool_of_one_is_slower_and_answers_every_request() -> None:
    one, eight = (scaling.simulate(10, 2, 0.8, pool, requests=5000) for pool in (1, 8))
    assert len(one) == len(eight) == 5000
    assert sum(one) > sum(eight)
    # No request is faster than its wait for PostgreSQL.
    assert min(one[0], eight[0]) > 2

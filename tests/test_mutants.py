"""scripts/mutants.toml names text that the files still have, and tests that still exist."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = tomllib.loads((ROOT / "scripts/mutants.toml").read_text())


@pytest.mark.parametrize("row", TABLE["by_hand"], ids=lambda row: row["file"])
def test_mutant_by_hand_can_be_applied(row: dict[str, str]) -> None:
    assert (ROOT / row["file"]).read_text().count(row["old"]) == 1
    path, _, test = row["make"].partition("T=")[2].partition("::")
    assert f"def {test}" in (ROOT / path).read_text()


def test_equivalent_mutants_change_files_and_lines_that_exist() -> None:
    for row in TABLE["equivalent"]:
        assert (ROOT / row["file"]).exists(), row
        if "change" in row:
            lines = {line.strip() for line in (ROOT / row["file"]).read_text().splitlines()}
            removed = {line[2:] for line in row["change"].splitlines() if line[0] == "-"}
            assert removed <= lines, row

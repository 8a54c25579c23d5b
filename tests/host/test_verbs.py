"""Both runtimes offer the verbs that `make help` lists."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from scripts.stack.project_copy import ROOT

HELP = re.compile(r"^([a-z][a-z-]*): ## \S", re.MULTILINE)
PHONY = re.compile(r"^\.PHONY: (.*)$", re.MULTILINE)
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)


@pytest.mark.parametrize("runtime", ["docker", "host"])
def test_each_runtime_has_one_recipe_for_every_verb(runtime: str, tmp_path: Path) -> None:
    engine = tmp_path / "docker"
    engine.write_text("#!/bin/sh\necho 99.9\n")
    engine.chmod(0o755)
    done = subprocess.run(
        ["make", "--print-data-base", "--dry-run", "ps", f"RUNTIME={runtime}"],
        cwd=ROOT,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    targets = [block for block in done.stdout.split("\n\n") if "\n\t" in block]
    verbs = {name for block in targets for name in TARGET.findall(block)}
    assert verbs == set(HELP.findall((ROOT / "Makefile").read_text()))
    # make would warn about a second recipe.
    assert "overriding" not in done.stderr


def test_every_verb_is_phony() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = {verb for line in PHONY.findall(makefile) for verb in line.split()}
    assert phony == set(HELP.findall(makefile))

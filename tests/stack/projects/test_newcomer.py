"""The walkthrough of docs/newcomer.md."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from scripts.stack import engine
from scripts.stack.clone import environment
from scripts.stack.project_copy import ROOT, copy_project

STEP = re.compile(r"^\| ([^|]+) \| \d", re.MULTILINE)


def test_newcomer_walkthrough_succeeds(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "origin")
    git = ("git", "-c", "user.name=Newcomer", "-c", "user.email=newcomer@example.com")
    for command in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "-m", "All")):
        subprocess.run([*git, *command], cwd=folder, check=True)
    done = subprocess.run(
        ["bash", "scripts/newcomer"],
        cwd=folder,
        # CI runs the whole suite in a fresh clone of its own.
        env=environment(engine.PROJECT, 8830) | {"T": "tests/home"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert STEP.findall(done.stdout) == STEP.findall((ROOT / "docs/newcomer.md").read_text())
    assert "\n7 commands, " in done.stdout

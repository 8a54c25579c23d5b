"""The first verb explains why the virtual environment cannot be created."""

from __future__ import annotations

import shutil
from pathlib import Path

from scripts.stack.project_copy import ROOT
from tests.host.conftest import MakeClone


def test_unusable_python_is_named(make_clone: MakeClone, tmp_path: Path) -> None:
    clone = make_clone()
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    (clone.folder / ".local/venv").unlink()
    said = clone.make("ps", PYTHON=str(old), status=2)
    assert f"PYTHON={old} is not Python 3.12 or newer" in said
    (clone.folder / ".local/venv").symlink_to((ROOT / ".local/venv").resolve())


def test_unreachable_index_gives_one_sentence_and_no_partial_environment(
    make_clone: MakeClone,
) -> None:
    clone = make_clone(with_venv=False)
    said = clone.make("ps", PIP_INDEX_URL="http://127.0.0.1:9/simple", status=2)
    assert "The Python package index cannot be reached. Check the network" in said
    assert "Traceback" not in said
    assert not (clone.folder / ".local/venv/installed").exists()
    (clone.folder / ".local").rename(clone.folder / ".local-broken")
    (clone.folder / ".local").mkdir()
    (clone.folder / ".local/venv").symlink_to((ROOT / ".local/venv").resolve())


def test_environment_that_lost_its_python_is_created_again(
    make_clone: MakeClone, tmp_path: Path
) -> None:
    """As on the other side of a dev container, and after an upgrade of the system's Python."""
    clone = make_clone()
    venv = clone.folder / ".local/venv"
    locks = (venv / "installed").read_text().partition("\n/")[0]
    venv.unlink()
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to("/nowhere/python3")
    (venv / "installed").write_text(f"{locks}\n{venv}\n")
    said = clone.make("ps", PYTHON=str(tmp_path / "none"), status=2)
    assert "is not Python 3.12 or newer" in said
    shutil.rmtree(venv)
    venv.symlink_to((ROOT / ".local/venv").resolve())

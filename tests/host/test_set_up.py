"""What a first verb says when it cannot set itself up, and how the runtime is chosen."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import psutil

from scripts.stack.project_copy import ROOT
from tests.host.conftest import MakeClone


def choose(docker: Path, *words: str) -> tuple[str, str]:
    """Return what choose-runtime prints and says with this docker; it may leave nothing running."""
    mark = f"mark-{os.getpid()}-{time.monotonic()}"
    done = subprocess.run(
        ["sh", "scripts/choose-runtime", *words],
        cwd=ROOT,
        env={"PATH": f"{docker}:{os.environ['PATH']}", "MARK": mark},
        capture_output=True,
        text=True,
        timeout=5,
        check=False,
    )
    time.sleep(0.1)
    assert [process.name() for process in psutil.process_iter() if is_marked(process, mark)] == []
    return done.stdout.strip(), done.stderr.strip()


def is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get("MARK") == mark
    except psutil.Error:
        return False


def docker(folder: Path, action: str) -> Path:
    """Make a docker that does what the shell is told; return its folder."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{action}\n")
    program.chmod(0o755)
    return folder


def test_an_engine_that_hangs_is_given_up_on(tmp_path: Path) -> None:
    chosen, said = choose(docker(tmp_path, "exec sleep 60"))
    assert (chosen, said) == ("host", "Runtime: host (no Docker engine answers).")


def test_an_engine_that_answers_is_taken(tmp_path: Path) -> None:
    began = time.monotonic()
    chosen, said = choose(docker(tmp_path, "echo 99.9"))
    assert (chosen, said) == ("docker", "Runtime: docker (engine 99.9 answers).")
    assert time.monotonic() - began < 2


def test_forcing_docker_without_an_engine_is_one_sentence(tmp_path: Path) -> None:
    chosen, said = choose(docker(tmp_path, "exit 1"), "docker")
    assert chosen == ""
    assert said == "No Docker engine answers: start Docker and try again, or use RUNTIME=host."


def test_a_python_that_is_too_old_is_named(make_clone: MakeClone, tmp_path: Path) -> None:
    clone = make_clone()
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    (clone.folder / ".local/venv").unlink()
    said = clone.make("ps", PYTHON=str(old), status=2)
    assert f"PYTHON={old} is no Python 3.12 or newer" in said
    (clone.folder / ".local/venv").symlink_to((ROOT / ".local/venv").resolve())


def test_an_index_out_of_reach_is_one_sentence_and_leaves_no_half_made_environment(
    make_clone: MakeClone,
) -> None:
    clone = make_clone(with_venv=False)
    said = clone.make("ps", PIP_INDEX_URL="http://127.0.0.1:9/simple", status=2)
    assert "The Python package index cannot be reached: check the network" in said
    assert "Traceback" not in said
    assert not (clone.folder / ".local/venv/installed").exists()
    (clone.folder / ".local").rename(clone.folder / ".local-broken")
    (clone.folder / ".local").mkdir()
    (clone.folder / ".local/venv").symlink_to((ROOT / ".local/venv").resolve())

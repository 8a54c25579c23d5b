"""Shell scripts that guard data: secrets, questions before data is deleted, dumps."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run(folder: Path, script: str, *arguments: str, **environ: str) -> tuple[int, str]:
    """Run a script without a terminal; return its status and what it says on stderr."""
    done = subprocess.run(
        ["sh", str(SCRIPTS / script), *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"]} | environ,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_secrets_are_random_private_and_never_overwritten(tmp_path: Path) -> None:
    keys = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "env").mkdir(parents=True)
        shutil.copy(SCRIPTS.parent / "env/secrets.env.example", folder / "env")
        secrets = folder / "env/secrets.env"
        assert run(folder, "make-secrets")[0] == 0
        assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
        (key,) = [
            line for line in secrets.read_text().splitlines() if line.startswith("SECRET_KEY=")
        ]
        assert len(key) > len("SECRET_KEY=") + 50
        keys.add(key)
        assert run(folder, "make-secrets") == (0, "")
        assert key in secrets.read_text()
    assert len(keys) == 2


def test_question_without_a_terminal_needs_force(tmp_path: Path) -> None:
    status, said = run(tmp_path, "confirm", "Delete the data?")
    assert (status, "Set FORCE=1 to confirm" in said) == (1, True)
    assert run(tmp_path, "confirm", "Delete the data?", FORCE="1") == (0, "")


def test_failed_dump_leaves_the_previous_file(tmp_path: Path) -> None:
    dump = tmp_path / "methodhub.dump"
    write = ("write", dump.name, "sh", "-c")
    assert run(tmp_path, "dump-file", *write, "echo part; exit 1")[0] != 0
    assert list(tmp_path.iterdir()) == []
    assert run(tmp_path, "dump-file", *write, "echo first") == (0, "")
    status, said = run(tmp_path, "dump-file", *write, "echo second")
    assert (status, "FORCE=1 overwrites it" in said) == (1, True)
    assert run(tmp_path, "dump-file", *write, "echo part; exit 1", FORCE="1")[0] != 0
    assert dump.read_text() == "first\n"
    assert run(tmp_path, "dump-file", *write, "echo second", FORCE="1") == (0, "")
    assert dump.read_text() == "second\n"

"""Gates refuse planted faults: `make lint` spelling and secrets, and `make test` low coverage."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = Path(sysconfig.get_path("scripts"))
# Assembled here, so that this file passes the gates.
MISSPELLING = "re" + "cieve"
DJANGO_KEY = "h9Xq2LrT7vKc" + "W4mZs8bNf1Yd" + "G6pJu3Ea0oRi" + "5tBx"
# Kingfisher reports the secret part, and only with the id.
CLOUD_KEY = ("AKIA" + "Q3EGRIL7XNP5VWZT", DJANGO_KEY)
# Other checks of `make lint`, which this test replaces with commands that succeed.
OTHERS = ("ruff", "mypy", "lint-imports", "shellcheck", "hadolint", "yamllint", "python")


def run(
    folder: Path, *command: str, path: Path = TOOLS, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, outside the coverage measurement of this suite."""
    inherited = {name: one for name, one in os.environ.items() if not name.startswith("COV")}
    search = f"{path}{os.pathsep}{inherited['PATH']}"
    return subprocess.run(
        command,
        cwd=folder,
        env=inherited | environ | {"PATH": search},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the configuration and the scripts of the gates."""
    folder = tmp_path / "copy"
    (folder / "scripts").mkdir(parents=True)
    for name in ("pyproject.toml", "scripts/lint", "scripts/test", "scripts/secret-rules.yml"):
        shutil.copy(ROOT / name, folder / name)
    cache = ROOT / ".local/cache/kingfisher"
    if cache.exists():
        # Kingfisher takes seconds to compile its rules.
        shutil.copytree(cache, folder / ".local/cache/kingfisher")
    return folder


def test_lint_refuses_misspelling_and_secrets(copy: Path, tmp_path: Path) -> None:
    succeeding = tmp_path / "bin"
    succeeding.mkdir()
    for name in OTHERS:
        (succeeding / name).symlink_to("/bin/true")
    for name in ("typos", "kingfisher"):
        (succeeding / name).symlink_to(TOOLS / name)
    (copy / "spelling.txt").write_text(f"We {MISSPELLING} a key.\n")
    (copy / "cloud.txt").write_text(
        f"aws_access_key_id={CLOUD_KEY[0]}\naws_secret_access_key={CLOUD_KEY[1]}\n"
    )
    (copy / "django.txt").write_text(f"SECRET_KEY={DJANGO_KEY}\n")
    done = run(copy, "sh", "scripts/lint", path=succeeding)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "Failed: typos scan_secrets")
    for name in ("spelling.txt", "cloud.txt", "django.txt"):
        assert name in done.stdout


@pytest.mark.parametrize(("unused", "status"), [(4, 2), (0, 0)], ids=["below", "above"])
def test_whole_suite_fails_below_the_coverage_floor(copy: Path, unused: int, status: int) -> None:
    (copy / "src").mkdir()
    lines = ["one = 1"] * 20 + ["if one == 2:"] * bool(unused) + ["    one = 3"] * unused
    (copy / "src/measured.py").write_text("\n".join(lines))
    # Takes pytest's place: coverage runs the module of that name in the current folder.
    (copy / "pytest.py").write_text("import sys; sys.path.insert(0, 'src'); import measured")
    done = run(copy, "sh", "scripts/test", COVERAGE="1")
    assert done.returncode == status, done.stdout + done.stderr

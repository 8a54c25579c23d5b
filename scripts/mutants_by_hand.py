"""Apply the mutants of scripts/mutants.toml to a copy of the project; a test must notice each.

``mutants_by_hand [PATH…]``: all of them, or those of the named files: Compose, Dockerfile, SQL and
shell, which scripts/mutants.py does not change.
"""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from functools import cache
from pathlib import Path

from scripts.stack.clone import Clone

ROOT = Path(__file__).resolve().parents[1]
COPY = ROOT / ".local/mutants/by-hand"


def main(*names: str) -> int:
    """Return 1 if a mutant's test passes."""
    rows = tomllib.loads((ROOT / "scripts/mutants.toml").read_text())["by_hand"]
    table = [row for row in rows if row["file"].startswith(names or "")]
    if not table:
        return 0
    shutil.rmtree(COPY, ignore_errors=True)
    clone = Clone(COPY, "methodhub-mutants", 0)
    # Tests copy the files that git knows.
    clone.run("git", "init", "--quiet")
    clone.run("git", "add", "--all")
    (COPY / ".local").mkdir()
    (COPY / ".local/venv").symlink_to(ROOT / ".local/venv")

    def passes(arguments: str) -> bool:
        words = arguments.split()
        runtime = "host" if "RUNTIME=host" in words else "docker"
        done = clone.run("make", *words, "ARGS=-qx", RUNTIME=runtime)
        if done.returncode and not re.search(r"^(FAILED|ERROR) ", done.stdout, re.MULTILINE):
            raise SystemExit(f"make {arguments} ran no test.\n{done.stdout}{done.stderr}")
        return done.returncode == 0

    passes_unchanged = cache(passes)
    unnoticed = []
    try:
        for row in table:
            source = (ROOT / row["file"]).read_text()
            if source.count(row["old"]) != 1 or not passes_unchanged(row["make"]):
                raise SystemExit(f"Not once in {row['file']}, or its test fails: {row}")
            (COPY / row["file"]).write_text(source.replace(row["old"], row["new"]))
            if passes(row["make"]):
                unnoticed.append(row)
            (COPY / row["file"]).write_text(source)
    finally:
        clone.remove()
    for row in unnoticed:
        print(f"Not noticed by make {row['make']}: {row['file']}: {row['old']!r} → {row['new']!r}")
    print(f"{len(unnoticed)} of {len(table)} mutants by hand were not noticed.")
    return int(bool(unnoticed))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

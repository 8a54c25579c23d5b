"""Python programs in processes of their own, that start in a fifth of the time.

They are forked from a process that has imported packages which read no settings, as runserver's
own children are (development.supervisor); of this project nothing is imported yet.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_context = multiprocessing.get_context("forkserver")


def start(
    *arguments: str,
    env: Mapping[str, str],
    cwd: Path,
    stdout: Path,
    stderr: Path,
) -> ForkServerProcess:
    """Start what ``python ARGUMENTS…`` runs: a file, -m and a module, or -c and code."""
    # Not above, where a child would import it too.
    from development.supervisor import PRELOADED

    _context.set_forkserver_preload(list(PRELOADED))
    for path in (stdout, stderr):
        path.touch()
    process = _context.Process(target=_become, args=(arguments, dict(env), cwd, stdout, stderr))
    process.start()
    return process


def run(*arguments: str, env: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
        process = start(*arguments, env=env, cwd=cwd, stdout=stdout, stderr=stderr)
        process.join(60)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(arguments)
        return subprocess.CompletedProcess(
            arguments, process.exitcode, stdout.read_text(), stderr.read_text()
        )


def _become(
    arguments: tuple[str, ...], env: dict[str, str], cwd: Path, stdout: Path, stderr: Path
) -> None:
    for path, descriptor in ((stdout, 1), (stderr, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    program, *rest = arguments
    first = str(cwd) if program.startswith("-") else str((cwd / program).parent)
    packages = [path for path in sys.path if path.startswith((sys.prefix, sys.base_prefix))]
    sys.path[:] = [first, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep)), *packages]
    sys.argv[:] = rest if program == "-m" else list(arguments)
    if program == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif program == "-c":
        exec(rest[0], {"__name__": "__main__"})  # noqa: S102 - a test's own
    else:
        runpy.run_path(program, run_name="__main__")

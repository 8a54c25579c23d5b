"""Run Python programs in their own processes, in a fifth of the usual start-up time.

The programs are forked from a process that has already imported packages that read no settings, and
nothing of this project. runserver starts its child processes in the same way
(development.supervisor).
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import runpy
import signal
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
    traced: bool = True,
) -> ForkServerProcess:
    """Start ``python ARGUMENTS…`` (a file, -m and a module, or -c and code) in its own session.

    With ``traced`` false, coverage does not measure it.
    """
    # Imported here because a child process imports this module.
    from development.supervisor import PRELOADED, PRELOADED_BY_WEB

    _context.set_forkserver_preload(PRELOADED + PRELOADED_BY_WEB)
    for path in (stdout, stderr):
        path.touch()
    process = _context.Process(
        target=_become, args=(arguments, dict(env), cwd, stdout, stderr, traced)
    )
    process.start()
    return process


def kill(process: ForkServerProcess) -> None:
    """Kill the program and its child processes, such as gunicorn's workers."""
    assert process.pid
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()


def stop(process: ForkServerProcess) -> None:
    """Stop the program with SIGTERM, after which coverage has its lines; kill it after 3 seconds.

    A program with child processes, such as runserver, kills them when it is stopped, and exits when
    they do. So the child processes get the signal.
    """
    assert process.pid
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in children or [str(process.pid)]:
            os.kill(int(pid), signal.SIGTERM)
        process.join(3)
    kill(process)


def run(
    *arguments: str, env: Mapping[str, str], cwd: Path, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run the program until it exits; raises TimeoutError after ``timeout`` seconds."""
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
        process = start(*arguments, env=env, cwd=cwd, stdout=stdout, stderr=stderr)
        try:
            process.join(timeout)
            if process.exitcode is None:
                raise TimeoutError(arguments)
            return subprocess.CompletedProcess(
                arguments, process.exitcode, stdout.read_text(), stderr.read_text()
            )
        finally:
            kill(process)


def refuse_public_sockets(event: str, arguments: tuple[object, ...]) -> None:
    """Raise an error for a socket that other machines can reach; a hook for sys.addaudithook."""
    if event == "socket.bind" and isinstance(address := arguments[1], tuple):
        host = str(address[0])
        assert host in ("localhost", "::1") or host.startswith("127."), f"Not loopback: {host!r}"


def _become(
    arguments: tuple[str, ...],
    env: dict[str, str],
    cwd: Path,
    stdout: Path,
    stderr: Path,
    traced: bool,
) -> None:
    os.setsid()
    # Keeps the garbage collector from scanning the imported packages.
    gc.freeze()
    if not traced and (coverage := sys.modules.get("coverage")):
        coverage.Coverage.current().stop()
    sys.addaudithook(refuse_public_sockets)
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
        exec(rest[0], {"__name__": "__main__"})  # noqa: S102 - code of the test itself
    else:
        runpy.run_path(program, run_name="__main__")

"""Background processes that outlive the command that started them.

A JSON file records the process of each service. It identifies the process by its pid and its start
time: after a crash or a reboot, another process may have the same pid.
https://psutil.readthedocs.io/en/latest/#psutil.Process
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from scripts.host.errors import UserError

START_TIMEOUT = 60.0  # seconds
MAX_LOG_SIZE = 10_000_000  # bytes; a larger log is renamed to *.log.1 at the next start


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """The command of a service and the settings to run it with.

    ``is_ready`` is polled until it returns true. ``stop_signal`` ends the process; SIGKILL follows
    after ``stop_timeout`` seconds. ``popen_options`` are further arguments of ``subprocess.Popen``.
    """

    command: Sequence[str]
    environ: Mapping[str, str]
    cwd: Path
    port: int | None
    label: str
    is_ready: Callable[[], bool]
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float
    popen_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def digest(self) -> str:
        """Return a checksum of everything that decides how the process starts."""
        packages = (Path(sys.prefix) / "installed").read_text()
        inputs = [packages, list(self.command), sorted(self.environ.items()), str(self.cwd)]
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Record:
    """A started process, as its JSON file describes it."""

    pid: int
    started: float
    cwd: str
    port: int | None
    label: str
    stop_signal: int
    stop_timeout: float
    digest: str


class Service:
    """A background process with its record and its log below ``home``."""

    def __init__(self, home: Path, name: str) -> None:
        self.name = name
        self.log = home / "log" / f"{name}.log"
        self._record_file = home / "run" / f"{name}.json"

    def record(self) -> Record | None:
        """Return the record of the last start, or None after a stop.

        The process may have died since.
        """
        try:
            return Record(**json.loads(self._record_file.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            # Another version of this program wrote it.
            self._record_file.unlink()
            return None

    def process(self) -> psutil.Process | None:
        """Return the recorded process if it is alive."""
        record = self.record()
        if record is None:
            return None
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(record.pid)
            if _is_alive(process) and abs(_start_time(process) - record.started) < 0.05:
                return process
        return None

    def running(self) -> Record | None:
        """Return the record if its process is alive."""
        return self.record() if self.process() else None

    def orphans(self) -> list[psutil.Process]:
        """Return the processes that still run in the session of a killed process.

        The system does not reuse a session's id while a member lives, but may do so afterwards. The
        working directory distinguishes our session from a later one.
        """
        record = self.record()
        if record is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            if _is_alive(psutil.Process(record.pid)):
                return []
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
                if os.getsid(process.pid) == record.pid and process.cwd() == record.cwd:
                    found.append(process)
        return found

    def ensure(self, program: Program) -> bool:
        """Start ``program`` unless it runs already; return whether it was started.

        A process that was started differently is replaced.
        """
        running = self.running()
        if running and running.digest == program.digest():
            return False
        self.stop()
        self.start(program)
        return True

    def start(self, program: Program) -> None:
        """Start ``program`` and wait until it is ready; raise UserError if that fails."""
        for file in (self.log, self._record_file):
            file.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_SIZE:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                program.command,
                env=program.environ,
                cwd=program.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **program.popen_options,
            )
        self._write_record(process.pid, program)
        deadline = time.monotonic() + START_TIMEOUT
        while process.poll() is None:
            if program.is_ready():
                return
            if time.monotonic() > deadline:
                raise UserError(
                    f"{self.name} runs but does not answer after {START_TIMEOUT:.0f} s. Its log "
                    f"ends with:\n{self._log_tail()}"
                )
            time.sleep(0.05)
        self.stop()
        raise UserError(
            f"{self.name} stopped before it was ready. Its log ends with:\n{self._log_tail()}"
        )

    def stop(self) -> None:
        """Stop the process and its children, with SIGKILL if necessary, and delete the record."""
        record = self.record()
        if record is None:
            return
        if leader := self.process():
            with contextlib.suppress(psutil.NoSuchProcess):
                family = [leader, *leader.children(recursive=True)]
                leader.send_signal(record.stop_signal)
                _wait(family, record.stop_timeout)
                _kill(family)
        _kill(self.orphans())
        self._record_file.unlink(missing_ok=True)

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join(f"  {line}" for line in lines)

    def _write_record(self, pid: int, program: Program) -> None:
        record = Record(
            pid=pid,
            started=_start_time(psutil.Process(pid)),
            cwd=str(program.cwd),
            port=program.port,
            label=program.label,
            stop_signal=program.stop_signal,
            stop_timeout=program.stop_timeout,
            digest=program.digest(),
        )
        new = self._record_file.with_suffix(".new")
        new.write_text(json.dumps(dataclasses.asdict(record)))
        new.replace(self._record_file)


def _start_time(process: psutil.Process) -> float:
    """Return the process's start time on a clock that is never adjusted, in seconds.

    On Linux, psutil adds the boot time, which changes when the wall clock is set.
    """
    started = process.create_time()
    return started - psutil.boot_time() if psutil.LINUX else started


def _is_alive(process: psutil.Process) -> bool:
    """Tell whether the process runs. Zombies do not count: without an init, nothing reaps them."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(processes: Iterable[psutil.Process], timeout: float) -> None:
    """Wait until none of the processes is alive, for ``timeout`` seconds at most."""
    deadline = time.monotonic() + timeout
    while any(_is_alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)


def _kill(processes: list[psutil.Process]) -> None:
    """Send SIGKILL to the processes that are alive. psutil refuses to signal a reused pid."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if _is_alive(process):
                process.kill()
    _wait(processes, 5)

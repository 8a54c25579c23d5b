"""Background processes that outlive the verb that started them.

A record on disk says which process runs a service. It names the process by its number and the
time it started, so that after a crash or a reboot a number that another process got meanwhile is
never taken for ours. https://psutil.readthedocs.io/en/latest/#psutil.Process
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from scripts.host.trouble import Trouble

START_TIMEOUT = 60.0  # seconds
LOG_LIMIT = 10_000_000  # bytes, then the log starts anew and the former one is kept as *.log.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What to run for a service.

    ``ready`` is asked until it is true; ``signal`` stops it, SIGKILL follows after ``grace``
    seconds. ``popen`` holds further arguments of ``subprocess.Popen``.
    """

    command: Sequence[str]
    environ: Mapping[str, str]
    folder: Path
    port: int
    label: str
    ready: Callable[[], bool]
    signal: signal.Signals = signal.SIGTERM
    grace: float
    popen: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def digest(self) -> str:
        """Return a checksum that changes when the process would be started differently."""
        packages = (Path(sys.prefix) / "installed").read_text()
        said = json.dumps(
            [packages, list(self.command), sorted(self.environ.items()), str(self.folder)]
        )
        return hashlib.sha256(said.encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Record:
    """A process as it was started, kept as JSON."""

    pid: int
    started: float
    folder: str
    port: int
    label: str
    signal: int
    grace: float
    digest: str


class Service:
    """One named background process with its record and its log below ``home``."""

    def __init__(self, home: Path, name: str) -> None:
        """Name the service; nothing is started."""
        self.name = name
        self.log = home / "log" / f"{name}.log"
        self._record = home / "run" / f"{name}.json"

    def record(self) -> Record | None:
        """Return what was started last, whether or not it still runs; None after a stop."""
        try:
            return Record(**json.loads(self._record.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            # Not ours, or of another version of this program: it names no process.
            self._record.unlink()
            return None

    def process(self) -> psutil.Process | None:
        """Return the process if it still runs and is the one that was started."""
        record = self.record()
        if record is None:
            return None
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(record.pid)
            if _alive(process) and abs(_started(process) - record.started) < 0.05:
                return process
        return None

    def running(self) -> Record | None:
        """Return the record if its process runs."""
        return self.record() if self.process() else None

    def leftovers(self) -> list[psutil.Process]:
        """Return what the process left behind when it was killed: a session without its leader.

        The number of a session cannot be given to a new process while one of its processes
        lives; the working directory excludes another's session after that.
        """
        record = self.record()
        if record is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            if _alive(psutil.Process(record.pid)):
                return []
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
                if os.getsid(process.pid) == record.pid and process.cwd() == record.folder:
                    found.append(process)
        return found

    def start(self, task: Task) -> None:
        """Start ``task`` and wait until it is ready. Raises Trouble when it does not get there."""
        for kept in (self.log, self._record):
            kept.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                task.command,
                env=task.environ,
                cwd=task.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **task.popen,
            )
        self._remember(process.pid, task)
        deadline = time.monotonic() + START_TIMEOUT
        while process.poll() is None:
            if task.ready():
                return
            if time.monotonic() > deadline:
                raise Trouble(
                    f"{self.name} runs but does not answer after {START_TIMEOUT:.0f} s; its log "
                    f"ends with:\n{self.tail()}"
                )
            time.sleep(0.05)
        self.stop()
        raise Trouble(f"{self.name} stopped at once; its log ends with:\n{self.tail()}")

    def stop(self) -> None:
        """Stop the process and all its children, kindly and then by force; forget it."""
        record = self.record()
        if record is None:
            return
        if leader := self.process():
            with contextlib.suppress(psutil.NoSuchProcess):
                family = [leader, *leader.children(recursive=True)]
                leader.send_signal(record.signal)
                _wait(family, record.grace)
                _kill(family)
        _kill(self.leftovers())
        self._record.unlink(missing_ok=True)

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the log, indented."""
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(f"  {line}" for line in text)

    def _remember(self, pid: int, task: Task) -> None:
        record = Record(
            pid=pid,
            started=_started(psutil.Process(pid)),
            folder=str(task.folder),
            port=task.port,
            label=task.label,
            signal=task.signal,
            grace=task.grace,
            digest=task.digest(),
        )
        new = self._record.with_suffix(".new")
        new.write_text(json.dumps(dataclasses.asdict(record)))
        new.replace(self._record)


def _started(process: psutil.Process) -> float:
    """Return when the process started, in seconds on a clock that nobody sets.

    psutil adds the time of the boot, which moves with the wall clock on Linux.
    """
    started = process.create_time()
    return started - psutil.boot_time() if psutil.LINUX else started


def _alive(process: psutil.Process) -> bool:
    """Tell whether the process runs; in a container without init, dead ones stay as zombies."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(processes: Iterable[psutil.Process], seconds: float) -> None:
    """Wait until none of the processes is alive, at most ``seconds``."""
    deadline = time.monotonic() + seconds
    while any(_alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)


def _kill(processes: list[psutil.Process]) -> None:
    """Send SIGKILL to those that still live. psutil never signals a reused number."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if _alive(process):
                process.kill()
    _wait(processes, 5)


def answers(port: int) -> bool:
    """Tell whether something accepts connections on a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def owner(port: int) -> str:
    """Name the process that listens on a port, as far as this user may see it."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.laddr[1:] == (port,) and connection.pid is not None:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "another process"

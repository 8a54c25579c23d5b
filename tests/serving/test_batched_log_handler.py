"""Access lines: written together, and none is lost or doubled."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from serving import batched_log_handler
from serving.batched_log_handler import BatchedHandler

# What a server does: it forks workers, whose threads log, and which end.
PROGRAM = """
import logging, os, sys, threading
from serving.batched_log_handler import BatchedHandler
logger = logging.getLogger("access")
logger.addHandler(BatchedHandler(sys.stdout))
logger.setLevel("INFO")
def say(who):
    for number in range(2000):
        logger.info("%s %d %s", who, number, "x" * 300)
for worker in ("one", "two", "silent"):
    if os.fork() == 0:
        threads = [threading.Thread(target=say, args=[f"{worker} {n}"]) for n in range(3)]
        for thread in threads if worker != "silent" else []:
            thread.start()
            thread.join(0.01)
        sys.exit()
for _ in range(3):
    assert os.wait()[1] == 0
"""


class Pipe:
    """A reader that keeps what comes, once it is ready."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.full = False
        self.written: list[str] = []

    def write(self, text: str) -> None:
        """Take it."""
        assert self.ready.wait(30)
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.written.append(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def lines(self) -> list[str]:
        """Return all that came."""
        return "".join(self.written).splitlines()


def record(text: str) -> logging.LogRecord:
    """Make a record of the text."""
    return logging.makeLogRecord({"msg": text})


def test_lines_of_a_moment_are_written_at_once_and_soon() -> None:
    pipe = Pipe()
    pipe.ready.set()
    handler = BatchedHandler(pipe)  # type: ignore[arg-type]
    for number in range(50):
        handler.handle(record(str(number)))
    deadline = time.monotonic() + 5
    while len(pipe.lines()) < 50:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert pipe.lines() == [str(number) for number in range(50)]
    assert len(pipe.written) < 10


def test_a_reader_that_stalls_holds_nobody_up_until_too_much_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batched_log_handler, "MOST", 100)
    pipe = Pipe()
    handler = BatchedHandler(pipe)  # type: ignore[arg-type]
    for _ in range(90):
        handler.handle(record("soon"))
    more = threading.Thread(target=lambda: [handler.handle(record("later")) for _ in range(400)])
    more.start()
    more.join(0.2)
    assert more.is_alive()
    pipe.ready.set()
    more.join(30)
    handler.flush()
    assert Counter(pipe.lines()) == {"soon": 90, "later": 400}


def test_a_failed_write_loses_its_lines_alone(capsys: pytest.CaptureFixture[str]) -> None:
    pipe = Pipe()
    pipe.ready.set()
    handler = BatchedHandler(pipe)  # type: ignore[arg-type]
    pipe.full = True
    handler.handle(record("lost"))
    handler.flush()
    assert "No space left" in capsys.readouterr().err
    pipe.full = False
    handler.handle(record("kept"))
    deadline = time.monotonic() + 5
    while not pipe.written:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert pipe.lines() == ["kept"]


def test_no_line_is_lost_torn_or_doubled_when_a_server_forks_and_ends() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"PYTHONPATH": "src", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdout
        said = b""
        # Slow, so that the pipe is full.
        while part := os.read(server.stdout.fileno(), 2**16):
            said += part
            time.sleep(0.002)
    assert server.returncode == 0
    says = [f"{worker} {n}" for worker in ("one", "two") for n in range(3)]
    expected = Counter(f"{who} {number} {'x' * 300}" for who in says for number in range(2000))
    assert Counter(said.decode().splitlines()) == expected

"""BatchedHandler writes lines in batches, and none is lost, torn or written twice."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from select import PIPE_BUF

import pytest

from serving import batched_log_handler
from serving.batched_log_handler import BatchedHandler

# Like a server, this program forks workers whose threads log. Then the workers exit.
SERVER = """
import logging, os, sys, threading
from serving.batched_log_handler import BatchedHandler
logger = logging.getLogger("access")
logger.addHandler(BatchedHandler(sys.stdout))
logger.setLevel("INFO")
def log(thread):
    for number in range(800):
        logger.info("%s %d %s", thread, number, "x" * 300)
for worker in ("one", "two", "silent"):
    if os.fork() == 0:
        threads = [threading.Thread(target=log, args=[f"{worker} {n}"]) for n in range(3)]
        for thread in threads if worker != "silent" else []:
            thread.start()
            thread.join(0.01)
        sys.exit()
for _ in range(3):
    assert os.wait()[1] == 0
"""


class Pipe:
    """A stream that blocks writers until its reader is ready, and keeps what they write."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.full = False
        self.written: list[str] = []

    def write(self, text: str) -> None:
        """Keep the text, or fail when the stream is full."""
        assert self.ready.wait(30)
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.written.append(text)

    def flush(self) -> None:
        """Do nothing: the stream has no buffer."""

    def lines(self) -> list[str]:
        """Return all lines that were written."""
        return "".join(self.written).splitlines()


def record(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text})


def test_lines_are_written_in_batches_soon() -> None:
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


def test_stalled_reader_blocks_logging_only_when_the_buffer_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batched_log_handler, "MAX_PENDING_LINES", 100)
    pipe = Pipe()
    handler = BatchedHandler(pipe)  # type: ignore[arg-type]
    for _ in range(90):
        handler.handle(record("buffered"))
    more = threading.Thread(target=lambda: [handler.handle(record("blocked")) for _ in range(400)])
    more.start()
    more.join(0.2)
    assert more.is_alive()
    pipe.ready.set()
    more.join(30)
    handler.flush()
    assert Counter(pipe.lines()) == {"buffered": 90, "blocked": 400}


def test_no_write_of_several_lines_is_longer_than_the_kernel_writes_at_once() -> None:
    pipe = Pipe()
    handler = BatchedHandler(pipe)  # type: ignore[arg-type]
    lines = ["ü" * length for length in (*range(0, 1000, 10), 5000, 10)]
    for line in lines:
        handler.handle(record(line))
    pipe.ready.set()
    handler.flush()
    assert pipe.lines() == lines
    sizes = [len(text.encode()) for text in pipe.written if text.count("\n") > 1]
    assert max(sizes) <= PIPE_BUF
    # Batches are filled.
    assert len(pipe.written) < 40


def test_failed_write_loses_only_its_own_lines(capsys: pytest.CaptureFixture[str]) -> None:
    pipe = Pipe()
    pipe.ready.set()
    handler = BatchedHandler(pipe)  # type: ignore[arg-type]
    pipe.full = True
    handler.handle(record("lost"))
    handler.flush()
    error = capsys.readouterr().err
    assert "No space left" in error
    assert "1 lines are lost" in error
    pipe.full = False
    handler.handle(record("kept"))
    deadline = time.monotonic() + 5
    while not pipe.written:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert pipe.lines() == ["kept"]


def test_record_that_cannot_be_formatted_is_reported_and_loses_no_other_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipe = Pipe()
    pipe.ready.set()
    handler = BatchedHandler(pipe)  # type: ignore[arg-type]
    broken = record("%d")
    broken.args = ("no number",)
    for each in (record("before"), broken, record("after")):
        handler.handle(each)
    handler.flush()
    reported = capsys.readouterr().err
    assert "TypeError" in reported
    assert "Message: '%d'" in reported
    assert pipe.lines() == ["before", "after"]


def test_no_line_is_lost_torn_or_doubled_when_workers_exit() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        env=os.environ | {"PYTHONPATH": "src", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdout
        output = b""
        # Read slowly in small pieces: the pipe stays full, and a long write would be torn.
        while part := os.read(server.stdout.fileno(), 4000):
            output += part
            time.sleep(0.0001)
    assert server.returncode == 0
    threads = [f"{worker} {n}" for worker in ("one", "two") for n in range(3)]
    expected = Counter(
        f"{thread} {number} {'x' * 300}" for thread in threads for number in range(800)
    )
    assert Counter(output.decode().splitlines()) == expected

"""Log lines that are written a moment later, all of that moment at once.

Written by itself, the line of each request costs a quarter of a small one: the write lets another
thread take the interpreter, and where the reader of the pipe is slow it holds up the event loop,
and with it every request. So a thread writes those lines, in batches. Others are not for this: what
a process says last must be out when it dies. Of these, one that is killed loses what waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from select import PIPE_BUF
from typing import TextIO

# Seconds in which a batch is gathered.
MOMENT = 0.02
# Lines that may wait. Whoever logs one more waits until they are written.
MOST = 10_000


class BatchedHandler(logging.StreamHandler[TextIO]):
    """A StreamHandler that writes lines in batches; made before a fork, used after it.

    Workers share a pipe, and only a write of up to PIPE_BUF bytes is never torn (pipe(7)): a batch
    is written in such pieces.
    """

    def __init__(self, stream: TextIO) -> None:
        """Take the stream; the thread starts with the first line."""
        super().__init__(stream)
        self._lines: deque[str] = deque()
        self._waiting = threading.Event()
        self._writing = threading.Lock()
        self._writer: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Have a line written in a moment."""
        try:
            self._lines.append(self.format(record) + self.terminator)
        except Exception:  # noqa: BLE001 - as logging's own handlers do
            self.handleError(record)
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name="log", daemon=True)
            self._writer.start()
        if not self._waiting.is_set():
            self._waiting.set()
        if len(self._lines) > MOST:
            self.flush()

    def _write(self) -> None:
        while self._waiting.wait():
            time.sleep(MOMENT)
            self._waiting.clear()
            self.flush()

    def flush(self) -> None:
        """Write what waits; logging calls it, too, when the process ends."""
        with self._writing:
            piece: list[str] = []
            size = 0
            # Others may append meanwhile.
            while self._lines:
                line = self._lines.popleft()
                size += len(line.encode())
                if size > PIPE_BUF:
                    self._put(piece)
                    piece, size = [], len(line.encode())
                piece.append(line)
            self._put(piece)

    def _put(self, lines: list[str]) -> None:
        if lines:
            try:
                self.stream.write("".join(lines))
                self.stream.flush()
            except Exception:  # noqa: BLE001 - as logging's own handlers do
                self.handleError(logging.makeLogRecord({"msg": f"{len(lines)} lines are lost"}))

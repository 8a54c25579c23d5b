"""The workers of a container share its connections."""

from __future__ import annotations

import contextlib
from http.client import HTTPConnection

from scripts.stack.engine import Container
from tests.stack.figures import figure

CONNECTIONS = 60
# The kernel gives a worker fewer connections once in about ten thousand runs.
MIN_SHARE = 6
# Prints the number of sockets of each gunicorn process.
SOCKETS = """
import os
from pathlib import Path
for process in Path("/proc").glob("[0-9]*"):
    words = process.joinpath("cmdline").read_bytes().split(bytes(1))
    if any(word.endswith(b"/gunicorn") for word in words):
        links = [os.readlink(link) for link in process.joinpath("fd").iterdir()]
        print(process.name, sum(link.startswith("socket:") for link in links))
"""

# Prints the number of sockets that listen on the port: their state in the kernel's table is 0A.
LISTENERS = """
from pathlib import Path
rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
print(sum(row[3] == "0A" and row[1].endswith(f":{8000:04X}") for row in rows))
"""


def sockets(web: Container) -> dict[str, int]:
    """Return the number of sockets of each process, by process id."""
    rows = (line.split() for line in web.python(SOCKETS).splitlines())
    return {process: int(count) for process, count in rows}


def test_each_worker_also_listens_on_its_own_socket(web: Container) -> None:
    """Without these sockets, the next test could still pass by chance."""
    _master, *workers = sockets(web)
    assert int(web.python(LISTENERS)) == 1 + len(workers)


def test_kept_connections_are_shared_between_workers(web: Container) -> None:
    before = sockets(web)
    with contextlib.ExitStack() as kept:
        connections = [HTTPConnection(web.address, 8000, timeout=10) for _ in range(CONNECTIONS)]
        for connection in connections:
            kept.callback(connection.close)
            connection.connect()
        for connection in connections:
            connection.request("GET", "/livez")
            assert connection.getresponse().read()
        after = sockets(web)
    *_master, fewer, more = sorted(after[process] - before[process] for process in after)
    figure("workers", f"{CONNECTIONS} connections kept", f"{fewer} and {more}")
    assert fewer >= MIN_SHARE

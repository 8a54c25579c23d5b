"""Generate load inside the project's network and print the results as JSON. Run by Stack.client.

It uses the standard library only.

load.py watch HOST SECONDS          the statuses of new requests while slow ones are in progress
load.py balance REQUESTS NAME…      spread requests over the replicas that are ready
load.py streams HOST COUNT COOKIE   the seconds that pages take, without and with open streams
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

PORT = 8000
PAGES = 100
BATCH = 20  # streams that are opened at once
PROBE_INTERVAL = 0.5  # seconds
# Consecutive failed probes after which a balancer stops sending requests to a target.
UNHEALTHY_THRESHOLD = 3
type Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def request(connection: Connection, path: str, cookie: str = "") -> tuple[int, bool]:
    """Send a GET over an open connection; return the status and whether it stays open."""
    reader, writer = connection
    cookies = f"Cookie: {cookie}\r\n" if cookie else ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{cookies}\r\n".encode())
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    if "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
    elif headers.get("content-type") == "text/event-stream":
        await reader.readuntil(b"data: ")
    elif headers.get("transfer-encoding") == "chunked":
        while (size := int(await reader.readline(), 16)) > 0:
            await reader.readexactly(size + 2)
        await reader.readline()
    return int(head[0].split()[1]), headers.get("connection") != "close"


async def once(host: str, path: str) -> int:
    """GET over a new connection; return the status, or 0 when there is no response."""
    try:
        async with asyncio.timeout(20):
            connection = await asyncio.open_connection(host, PORT)
            try:
                return (await request(connection, path))[0]
            finally:
                connection[1].close()
    except (OSError, EOFError, TimeoutError):
        return 0


async def watch(host: str, seconds: str) -> dict[str, Any]:
    """Keep slow requests in progress; get /readyz and / on new connections until refused."""
    slow = [asyncio.create_task(once(host, f"/slow/{seconds}")) for _ in range(20)]
    start = time.monotonic()
    seen: list[tuple[float, int, int]] = []
    while not seen or (seen[-1][1] and time.monotonic() - start < 30):
        ready, page = await asyncio.gather(once(host, "/readyz"), once(host, "/"))
        seen.append((time.monotonic() - start, ready, page))
        await asyncio.sleep(0.1)
    return {"slow": await asyncio.gather(*slow), "seen": seen}


class Balancer:
    """Sends requests to healthy targets over keep-alive connections, as a load balancer does.

    Like a real one, it keeps sending requests to a draining target until several probes fail.
    """

    def __init__(self, names: list[str]) -> None:
        """Take the targets' names. A target that has not started yet is unhealthy."""
        self.idle: dict[str, list[Connection]] = {name: [] for name in names}
        self.failed_probes = dict.fromkeys(names, UNHEALTHY_THRESHOLD)
        self.served = dict.fromkeys(names, 0)
        self.served_draining = 0
        self.failures: list[str] = []
        self.turn = 0

    def healthy(self) -> list[str]:
        """Return the names of the targets that get requests."""
        return [name for name, failed in self.failed_probes.items() if failed < UNHEALTHY_THRESHOLD]

    async def probe(self, name: str) -> None:
        """Poll a target's /readyz."""
        while True:
            ready = await once(name, "/readyz") == 200
            self.failed_probes[name] = 0 if ready else self.failed_probes[name] + 1
            await asyncio.sleep(PROBE_INTERVAL)

    async def send(self, path: str) -> None:
        """Send one request to the next healthy target, without a retry."""
        while not (names := self.healthy()):
            await asyncio.sleep(0.05)
        self.turn += 1
        name = names[self.turn % len(names)]
        failed_probes = self.failed_probes[name]
        try:
            async with asyncio.timeout(20):
                if self.idle[name]:
                    connection = self.idle[name].pop()
                else:
                    connection = await asyncio.open_connection(name, PORT)
                status, stays_open = await request(connection, path)
        except (OSError, EOFError, TimeoutError) as error:
            self.failures.append(f"{name}: {error!r}")
            return
        if status != 200:
            self.failures.append(f"{name}: {status}")
        self.served[name] += 1
        if failed_probes:
            self.served_draining += 1
        # The workers of a container get SIGTERM one after the other. By the second failed probe,
        # all of them have it.
        if failed_probes > 1 and stays_open:
            self.failures.append(f"{name}: no Connection: close while it drains")
        if stays_open:
            self.idle[name].append(connection)
        else:
            connection[1].close()


async def balance(requests: str, *names: str) -> dict[str, Any]:
    """Send at least that many requests.

    It begins when the first two targets are ready, and ends when only the last one is.
    """
    balancer = Balancer(list(names))
    probes = [asyncio.create_task(balancer.probe(name)) for name in names]
    old = set(names[:2])
    while not old <= set(balancer.healthy()):
        await asyncio.sleep(0.1)
    deadline = time.monotonic() + 120

    def done() -> bool:
        sent = sum(balancer.served.values())
        replaced = balancer.healthy() == [names[-1]]
        return (sent >= int(requests) and replaced) or time.monotonic() > deadline

    async def client() -> None:
        while not done():
            for path in ("/slow/0.05", "/admin/login/", "/entries/"):
                await balancer.send(path)

    await asyncio.gather(*(client() for _ in range(6)))
    for probe in probes:
        probe.cancel()
    return {
        "served": balancer.served,
        "draining": balancer.served_draining,
        "failures": balancer.failures,
    }


async def streams(host: str, count: str, cookie: str) -> dict[str, Any]:
    """Time pages without open streams, and then with ``count`` of them, for a signed-in user."""

    async def pages() -> list[tuple[int, float]]:
        connection = await asyncio.open_connection(host, PORT)
        timed = []
        for _ in range(PAGES):
            start = time.perf_counter()
            status, _ = await request(connection, "/", cookie)
            timed.append((status, time.perf_counter() - start))
        connection[1].close()
        return timed

    async def open_stream() -> Connection:
        connection = await asyncio.open_connection(host, PORT)
        assert (await request(connection, "/endless/async/", cookie))[0] == 200
        return connection

    # The first pages open the pool's connections.
    await pages()
    without = await pages()
    connections: list[Connection] = []
    while len(connections) < int(count):
        batch = min(BATCH, int(count) - len(connections))
        connections += await asyncio.gather(*(open_stream() for _ in range(batch)))
    found = {"without": without, "with": await pages()}
    for _, writer in connections:
        writer.close()
    return found


if __name__ == "__main__":
    mode, *arguments = sys.argv[1:]
    loads: dict[str, Any] = {"watch": watch, "balance": balance, "streams": streams}
    print(json.dumps(asyncio.run(loads[mode](*arguments))))

"""Load from inside the project's network, as JSON; run by Stack.client, standard library only.

load.py watch HOST SECONDS          slow requests in flight, and what fresh connections see then
load.py balance REQUESTS NAME…      requests over those of the replicas whose /readyz says 200
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

PORT = 8000
type Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def request(connection: Connection, path: str) -> tuple[int, bool]:
    """Send a GET over an open connection; return the status and whether it stays open."""
    reader, writer = connection
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    if "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        while (size := int(await reader.readline(), 16)) > 0:
            await reader.readexactly(size + 2)
        await reader.readline()
    return int(head[0].split()[1]), headers.get("connection") != "close"


async def once(host: str, path: str) -> int:
    """GET over a connection of its own; return the status, or 0 when there is none."""
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
    """Keep slow requests in flight and ask /readyz and / on fresh connections, until refused."""
    flight = [asyncio.create_task(once(host, f"/slow/{seconds}")) for _ in range(20)]
    start = time.monotonic()
    seen: list[tuple[float, int, int]] = []
    while not seen or (seen[-1][1] and time.monotonic() - start < 30):
        ready, page = await asyncio.gather(once(host, "/readyz"), once(host, "/"))
        seen.append((time.monotonic() - start, ready, page))
        await asyncio.sleep(0.1)
    return {"flight": await asyncio.gather(*flight), "seen": seen}


class Balancer:
    """Sends requests to ready targets, over connections that it keeps, as a load balancer does."""

    def __init__(self, names: list[str]) -> None:
        """Know the targets by name; those that are not there yet are not ready."""
        self.idle: dict[str, list[Connection]] = {name: [] for name in names}
        self.ready: set[str] = set()
        self.served: dict[str, int] = dict.fromkeys(names, 0)
        self.failures: list[str] = []
        self.turn = 0

    async def probe(self, name: str) -> None:
        """Ask a target's readiness, twice a second."""
        while True:
            if await once(name, "/readyz") == 200:
                self.ready.add(name)
            else:
                self.ready.discard(name)
            await asyncio.sleep(0.5)

    async def send(self, path: str) -> None:
        """Send one request to the next ready target; never a second time elsewhere."""
        while not self.ready:
            await asyncio.sleep(0.05)
        self.turn += 1
        name = sorted(self.ready)[self.turn % len(self.ready)]
        try:
            async with asyncio.timeout(20):
                if self.idle[name]:
                    connection = self.idle[name].pop()
                else:
                    connection = await asyncio.open_connection(name, PORT)
                status, stays = await request(connection, path)
        except (OSError, EOFError, TimeoutError) as error:
            self.failures.append(f"{name}: {error!r}")
            return
        if status != 200:
            self.failures.append(f"{name}: {status}")
        self.served[name] += 1
        if stays:
            self.idle[name].append(connection)
        else:
            connection[1].close()


async def balance(requests: str, *names: str) -> dict[str, Any]:
    """Send at least so many requests, and go on until the first half of the names is gone."""
    balancer = Balancer(list(names))
    probes = [asyncio.create_task(balancer.probe(name)) for name in names]
    old = set(names[: len(names) // 2])
    while not old <= balancer.ready:
        await asyncio.sleep(0.1)
    deadline = time.monotonic() + 120

    def done() -> bool:
        sent = sum(balancer.served.values())
        gone = not old & balancer.ready and set(names) - old <= balancer.ready
        return (sent >= int(requests) and gone) or time.monotonic() > deadline

    async def client() -> None:
        while not done():
            await balancer.send("/slow/0.05")
            await balancer.send("/admin/login/")

    await asyncio.gather(*(client() for _ in range(6)))
    for probe in probes:
        probe.cancel()
    return {"served": balancer.served, "failures": balancer.failures}


if __name__ == "__main__":
    mode, *arguments = sys.argv[1:]
    load = watch(*arguments) if mode == "watch" else balance(*arguments)
    print(json.dumps(asyncio.run(load)))

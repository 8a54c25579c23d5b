"""MCP clients behind a proxy that deals requests out. Run by Stack.client inside the ecs image.

Usage: mcp_load.py CALLS NAME…

For each generation of the protocol, clients of the SDK send at least CALLS calls without a retry,
until the first half of the replicas NAME… has been replaced. Most calls are short; some are still
in progress when their replica closes its port. One more client of each generation makes a call that
never ends, and repeats it when its stream is closed. Prints the results as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

PORT = 8000
MODES = ("legacy", "2026-07-28")
# The clients of each generation, by the pause of their calls, in seconds. A call has three pauses.
# The slow calls are many, so that some of them are in progress when their replica closes its port.
CLIENTS = (0.15, 0.15, *[1.6] * 8)
# New connections of each client after this many calls.
CALLS_PER_CONNECTION = 10
PROBE_INTERVAL = 0.5  # seconds
# Consecutive failed probes after which a balancer stops sending requests to a target.
UNHEALTHY_THRESHOLD = 3
TIMEOUT = 120  # seconds


class Balancer(httpx2.AsyncBaseTransport):
    """Sends each request to the next healthy replica, as a load balancer does."""

    def __init__(self, names: list[str]) -> None:
        self.failed_probes = dict.fromkeys(names, UNHEALTHY_THRESHOLD)
        self.served: Counter[str] = Counter()
        self.network = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=None))
        self.turn = 0

    def healthy(self) -> list[str]:
        """Return the names of the replicas that get requests."""
        return [name for name, failed in self.failed_probes.items() if failed < UNHEALTHY_THRESHOLD]

    async def probe(self, name: str) -> None:
        """Poll a replica's /readyz."""
        async with httpx2.AsyncClient(timeout=5) as client:
            while True:
                ready = False
                with suppress(httpx2.HTTPError):
                    ready = (await client.get(f"http://{name}:{PORT}/readyz")).status_code == 200
                self.failed_probes[name] = 0 if ready else self.failed_probes[name] + 1
                await asyncio.sleep(PROBE_INTERVAL)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        while not (names := self.healthy()):
            await asyncio.sleep(0.05)
        self.turn += 1
        name = names[self.turn % len(names)]
        self.served[name] += 1
        # The Host header keeps the site's name.
        request.url = request.url.copy_with(host=name, port=PORT)
        return await self.network.handle_async_request(request)


@asynccontextmanager
async def connected(balancer: Balancer, mode: str) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(transport=balancer, timeout=30) as http:
        transport = streamable_http_client("http://localhost/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


async def main(calls: str, *names: str) -> dict[str, Any]:
    balancer = Balancer(list(names))
    probes = [asyncio.create_task(balancer.probe(name)) for name in names]
    old = set(names[: len(names) // 2])
    while not old <= set(balancer.healthy()):
        await asyncio.sleep(0.1)
    answered: Counter[str] = Counter()
    late: Counter[str] = Counter()
    streams: Counter[str] = Counter()
    failures: list[str] = []
    deadline = time.monotonic() + TIMEOUT

    def done() -> bool:
        replaced = set(balancer.healthy()) == set(names) - old
        enough = all(answered[mode] >= int(calls) and streams[mode] > 1 for mode in MODES)
        return (enough and replaced) or time.monotonic() > deadline

    async def call(client: Client, mode: str, pause: float) -> None:
        received: list[float] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            received.append(time.time())

        result = await client.call_tool("count", {"pause": pause}, progress_callback=on_progress)
        assert not result.is_error, result.content
        made = result.structured_content["result"]
        assert len(received) == len(made), f"{len(received)} of {len(made)} reports"
        # Each report arrived before the next was made, so nothing on the way buffers them.
        late[mode] += sum(a >= b for a, b in zip(received, made[1:], strict=False))
        answered[mode] += 1

    async def user(mode: str, pause: float) -> None:
        while not done():
            try:
                async with connected(balancer, mode) as client:
                    for _ in range(CALLS_PER_CONNECTION):
                        if not done():
                            await call(client, mode, pause)
            except Exception as error:  # noqa: BLE001 - every failure is reported
                failures.append(f"{mode}: {error!r}")

    async def listener(mode: str) -> None:
        """Keep a stream open, and open it again when it ends."""

        async def opened(progress: float, total: float | None, message: str | None) -> None:
            streams[mode] += progress == 1

        while True:
            with suppress(Exception):
                async with connected(balancer, mode) as client:
                    await client.call_tool("endless", progress_callback=opened)

    listeners = [asyncio.create_task(listener(mode)) for mode in MODES]
    await asyncio.gather(*(user(mode, pause) for mode in MODES for pause in CLIENTS))
    for task in [*listeners, *probes]:
        task.cancel()
    await asyncio.wait([*listeners, *probes])
    return {
        "answered": answered,
        "failures": failures,
        "late": late,
        "streams": streams,
        "served": balancer.served,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))

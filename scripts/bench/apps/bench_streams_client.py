"""Hold calls of bench_mcp.py open, and count their events.

Usage: bench_streams_client.py HOST STREAMS. Prints "open" when every call has sent an event. After
each line on stdin it prints the number of events since then; it exits at the end of stdin.
"""

import asyncio
import json
import sys

BATCH = 20  # calls that are opened at once
VERSION = "2026-07-28"
META = "io.modelcontextprotocol/"
BODY = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "events",
            "arguments": {},
            "_meta": {
                "progressToken": 1,
                f"{META}protocolVersion": VERSION,
                f"{META}clientCapabilities": {},
            },
        },
    }
)
REQUEST = (
    "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n"
    f"MCP-Protocol-Version: {VERSION}\r\nMcp-Method: tools/call\r\nMcp-Name: events\r\n\r\n{BODY}"
)
count = 0


async def hold(host: str, opened: asyncio.Event) -> None:
    """Open one call, and count its events."""
    global count
    reader, writer = await asyncio.open_connection(host, 8000)
    writer.write(REQUEST.encode())
    while line := await reader.readline():
        if line.startswith(b"data: "):
            assert b"notifications/progress" in line, line
            count += 1
            opened.set()
    sys.exit("The server closed a stream")


async def main(host: str, streams: str) -> None:
    loop = asyncio.get_running_loop()
    calls: list[asyncio.Task[None]] = []
    while len(calls) < int(streams):
        batch = [asyncio.Event() for _ in range(min(BATCH, int(streams) - len(calls)))]
        calls += [asyncio.create_task(hold(host, opened)) for opened in batch]
        await asyncio.gather(*(opened.wait() for opened in batch))
    print("open", flush=True)
    before = count
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(count - before, flush=True)
        before = count


asyncio.run(main(*sys.argv[1:]))

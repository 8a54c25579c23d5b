"""Call the tool of mcp_app.py, and print when each progress notification was made and received."""

import asyncio
import json
import time

from mcp.client import Client

received: list[float] = []


async def on_progress(_progress: float, _total: float | None, _message: str | None) -> None:
    """Record the time."""
    received.append(time.time())


async def main() -> None:
    """Call the tool once."""
    async with Client("http://127.0.0.1:8000/mcp") as client:
        result = await client.call_tool("count", progress_callback=on_progress)
        made = [float(part) for part in result.content[0].text.split()]
        print(json.dumps({"made": made, "received": received}))


asyncio.run(main())

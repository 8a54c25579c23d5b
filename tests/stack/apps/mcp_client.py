"""Call the tool of mcp_app.py, and print when each progress notification was made and came."""

import asyncio
import json
import time

from mcp.client import Client

came: list[float] = []


async def progressed(_progress: float, _total: float | None, _message: str | None) -> None:
    """Note the time."""
    came.append(time.time())


async def main() -> None:
    """Call the tool once."""
    async with Client("http://127.0.0.1:8000/mcp") as client:
        result = await client.call_tool("count", progress_callback=progressed)
        made = [float(part) for part in result.content[0].text.split()]
        print(json.dumps({"made": made, "came": came}))


asyncio.run(main())

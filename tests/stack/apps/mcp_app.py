"""An MCP server that is open to everybody, mounted by mcp_settings.py."""

import asyncio
import time

from mcp.server.mcpserver import Context

from mcp_hub.server import Server, serve

server = Server("stack test")
STEPS = 3


@server.tool()
async def count(context: Context, pause: float) -> list[float]:
    """Report progress, pause after each report, and return the time of each report."""
    reported = []
    for step in range(STEPS):
        reported.append(time.time())
        await context.report_progress(step + 1, STEPS)
        await asyncio.sleep(pause)
    return reported


@server.tool()
async def endless(context: Context) -> None:
    """Report progress until the call is cancelled."""
    step = 0
    while True:
        step += 1
        await context.report_progress(step)
        await asyncio.sleep(0.2)


application = serve(server, lambda application: application)

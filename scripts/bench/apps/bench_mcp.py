"""An MCP server, open to everybody, whose calls last until their client disconnects."""

import asyncio

from mcp.server.mcpserver import Context

from mcp_hub.server import Server, serve

server = Server("benchmark")
PERIOD = 5.0  # seconds


@server.tool()
async def events(context: Context) -> None:
    """Send an event now, and another one after each period."""
    number = 0
    while True:
        number += 1
        await context.report_progress(number)
        await asyncio.sleep(PERIOD)


application = serve(server, lambda application: application)

"""The project's ASGI application beside a server of the official MCP SDK."""

import asyncio
import time

from mcp.server.mcpserver import Context, MCPServer

from config.asgi import application as django

server = MCPServer("stack test")
STEPS = 4
PAUSE = 0.5  # seconds


@server.tool()
async def count(context: Context) -> str:
    """Report progress with a pause between the steps; return the time of each report."""
    reported = []
    for step in range(STEPS):
        if step:
            await asyncio.sleep(PAUSE)
        reported.append(str(time.time()))
        await context.report_progress(step + 1, STEPS)
    await asyncio.sleep(PAUSE)
    return " ".join(reported)


# The lifespan of this application runs the SDK's session manager.
application = server.streamable_http_app()
application.mount("/", django)

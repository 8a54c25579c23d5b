"""The project's ASGI application beside a server made with the official MCP SDK."""

import asyncio
import time

from mcp.server.mcpserver import Context, MCPServer

from config.asgi import application as django

server = MCPServer("stack test")
STEPS = 4
PAUSE = 0.5  # seconds


@server.tool()
async def count(context: Context) -> str:
    """Report progress, a pause apart; return when each step was reported."""
    reported = []
    for step in range(STEPS):
        if step:
            await asyncio.sleep(PAUSE)
        reported.append(str(time.time()))
        await context.report_progress(step + 1, STEPS)
    await asyncio.sleep(PAUSE)
    return " ".join(reported)


# Its lifespan runs the SDK's session manager.
application = server.streamable_http_app()
application.mount("/", django)

"""The project's settings, with the tests' MCP server at /mcp."""

from config.settings import *  # noqa: F403

ASGI_MOUNTS = {"/mcp": "mcp_app.application"}

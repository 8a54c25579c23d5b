"""The project's settings, with the MCP servers of the tests."""

from config.settings import *  # noqa: F403

ASGI_MOUNTS = {
    "/mcp": "mcp_app.application",
    "/conformance": "mcp_conformance.application",
}

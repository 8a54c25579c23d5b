"""The project's settings with the benchmark URLs and an MCP server at /mcp."""

from config.settings import *  # noqa: F403

ROOT_URLCONF = "bench_urls"
ASGI_MOUNTS = {"/mcp": "bench_mcp.application"}

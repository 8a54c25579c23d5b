"""MCP servers as the site serves them, in the test's process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from asgiref.testing import ApplicationCommunicator
from asgiref.typing import ASGI3Application
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from mcp_hub.server import Server, serve
from serving.access_log import AccessLog
from serving.mounts import Mounts
from serving.request_body import RequestBodyLimit

URL = "http://localhost/mcp"
# The clients of both generations of the protocol: 2025-11-25 with a handshake, and 2026-07-28.
MODES = ("legacy", "2026-07-28")


def open_to_all(application: ASGI3Application) -> ASGI3Application:
    """An authentication that needs no token."""
    return application


async def not_found(_scope: Any, _receive: Any, send: Any) -> None:
    """An application in Django's place."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def running(
    server: Server,
    authentication: Callable[[ASGI3Application], ASGI3Application] = open_to_all,
    django: Any = not_found,
) -> AsyncIterator[ASGI3Application]:
    """Run a site whose /mcp is the server; ``django`` answers all other paths."""
    mounts = Mounts(django, {"/mcp": serve(server, authentication)})
    site = AccessLog(RequestBodyLimit(mounts, 1), 0)
    lifespan = ApplicationCommunicator(site, {"type": "lifespan"})
    await lifespan.send_input({"type": "lifespan.startup"})
    assert (await lifespan.receive_output(5))["type"] == "lifespan.startup.complete"
    try:
        yield site
    finally:
        await lifespan.send_input({"type": "lifespan.shutdown"})
        assert (await lifespan.receive_output(5))["type"] == "lifespan.shutdown.complete"
        await lifespan.wait()
        mounts.threads.shutdown()


class Dealer(httpx2.AsyncBaseTransport):
    """A transport that deals requests out to several sites in turn, as a load balancer does."""

    def __init__(self, *sites: Any) -> None:
        self.sites = [httpx2.ASGITransport(site) for site in sites]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sites.append(self.sites.pop(0))
        return await self.sites[0].handle_async_request(request)


@asynccontextmanager
async def connected(*sites: ASGI3Application, mode: str, **options: Any) -> AsyncIterator[Client]:
    """Connect the SDK's client to the sites."""
    async with httpx2.AsyncClient(transport=Dealer(*sites)) as http:
        transport = streamable_http_client(URL, http_client=http)
        async with Client(transport, mode=mode, **options) as client:
            yield client


def call(mode: str, tool: str, arguments: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the body and the headers of a call, for ``post``."""
    meta: dict[str, Any] = {"progressToken": 1}
    headers = {"mcp_protocol_version": "2025-11-25"}
    if mode != "legacy":
        meta |= {
            "io.modelcontextprotocol/protocolVersion": mode,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        headers = {"mcp_protocol_version": mode, "mcp_method": "tools/call", "mcp_name": tool}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return json.dumps(body), headers


def fields(headers: dict[str, str]) -> dict[str, str]:
    """Return the headers of a message; names may use underscores."""
    return {
        "host": "localhost",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }


async def post(site: ASGI3Application, content: bytes | str, **headers: str) -> httpx2.Response:
    """Post a message to /mcp."""
    async with httpx2.AsyncClient(transport=Dealer(site)) as http:
        return await http.post(URL, content=content, headers=fields(headers))


async def post_and_disconnect(
    site: ASGI3Application, body: bytes, headers: list[tuple[bytes, bytes]]
) -> tuple[int, bytes]:
    """Post a message, and disconnect after its first event; return the status and the answer."""
    sent: list[Any] = []
    requests = [{"type": "http.request", "body": body, "more_body": False}]
    answered = asyncio.Event()

    async def receive() -> Any:
        if requests:
            return requests.pop()
        await answered.wait()
        return {"type": "http.disconnect"}

    async def collect(event: Any) -> None:
        sent.append(event)
        if event["type"] == "http.response.body" and (
            event.get("body") or not event.get("more_body")
        ):
            answered.set()

    scope: Any = {
        "type": "http",
        "method": "POST",
        "path": "/mcp",
        "query_string": b"",
        "scheme": "http",
        "headers": headers,
        "client": ("127.0.0.1", 1),
    }
    await site(scope, receive, collect)
    return sent[0]["status"], b"".join(event.get("body", b"") for event in sent[1:])

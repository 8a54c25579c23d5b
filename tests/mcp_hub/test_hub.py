"""The site's MCP server, and what every server made like it can rely on."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from typing import Any

import httpx2
import pytest
from django.conf import settings as django_settings
from django.db import connection
from mcp.client.session import ClientRequestContext
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
)
from pytest_django import Settings
from structlog.contextvars import get_contextvars

from accounts.models import User
from mcp_hub import hub
from mcp_hub.server import Server
from tests import forked
from tests.mcp_hub.site import (
    MODES,
    URL,
    Dealer,
    call,
    connected,
    fields,
    post,
    post_and_disconnect,
    running,
)

PING = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})
CROWD = 30


@pytest.mark.parametrize("mode", MODES)
def test_client_of_each_generation_uses_tool_and_resource(mode: str) -> None:
    async def scenario() -> tuple[Any, Any]:
        async with running(hub.server) as site, connected(site, site, mode=mode) as client:
            # A client of the later generation does not ask for them.
            if mode == "legacy":
                assert client.server_info
                assert client.server_info.name == "methodhub"
                assert client.server_info.title == "MCP Method Hub"
                assert "Call whoami" in (client.instructions or "")
            assert [tool.name for tool in (await client.list_tools()).tools] == ["whoami"]
            called = await client.call_tool("whoami")
            read = await client.read_resource("methodhub://servers")
            return called.structured_content, json.loads(read.contents[0].text)  # type: ignore[union-attr]

    caller, servers = asyncio.run(scenario())
    assert caller == {"user": None, "client": None, "scopes": []}
    assert servers["target"] == django_settings.ENV.TARGET


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost", 200),
        ("https://partner.example", 200),
        ("https://www.wild.example", 200),
        ("https://localhost", 403),
        ("http://localhost:3000", 403),
        ("https://evil.example", 403),
        ("https://evil.wild.example.evil.example", 403),
        ("null", 403),
    ],
)
def test_only_own_and_trusted_origins_may_call(
    settings: Settings, origin: str, status: int
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://partner.example", "https://*.wild.example"]

    async def scenario() -> int:
        async with running(hub.server) as site:
            return (await post(site, PING, origin=origin)).status_code

    assert asyncio.run(scenario()) == status


def test_only_post_is_allowed() -> None:
    async def scenario() -> httpx2.Response:
        async with running(hub.server) as site, httpx2.AsyncClient(transport=Dealer(site)) as http:
            return await http.get(URL)

    response = asyncio.run(scenario())
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("mode", MODES)
def test_prompts_get_their_arguments_and_refuse_wrong_ones(mode: str) -> None:
    server = Server("prompts")

    @server.prompt()
    def greet(name: str, tone: str = "kind") -> str:
        return f"Greet {name} in a {tone} tone."

    @server.prompt("renamed")
    async def other(context: Context) -> str:
        return f"Request {context.request_id}"

    async def scenario() -> list[Any]:
        async with running(server) as site, connected(site, mode=mode) as client:
            texts = [
                (await client.get_prompt(*asked)).messages[0].content.text  # type: ignore[union-attr]
                for asked in (("greet", {"name": "Ada"}), ("renamed", None))
            ]
            for name, message in (("none", "Unknown prompt: none"), ("greet", "arguments: name$")):
                with pytest.raises(MCPError, match=message) as refused:
                    await client.get_prompt(name)
                assert refused.value.error.code == INVALID_PARAMS
            return texts

    greeting, request = asyncio.run(scenario())
    assert greeting == "Greet Ada in a kind tone."
    assert request.startswith("Request ")


def test_another_replica_continues_a_call_that_asks_the_user() -> None:
    def make() -> Server:
        """A replica, whose tool first asks for a name."""
        server = Server("replica")

        @server.tool()
        async def greet(context: Context) -> InputRequiredResult | str:
            if context.input_responses is None:
                question = ElicitRequestFormParams(
                    message="Your name?",
                    requested_schema={"type": "object", "properties": {"name": {"type": "string"}}},
                )
                return InputRequiredResult(
                    input_requests={"name": ElicitRequest(params=question)}, request_state="asked"
                )
            answer = context.input_responses["name"]
            assert isinstance(answer, ElicitResult)
            assert answer.content
            return f"{context.request_state}: {answer.content['name']}"

        return server

    async def answer(_context: ClientRequestContext, _params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "Ada"})

    async def scenario() -> str:
        async with (
            running(make()) as first,
            running(make()) as second,
            connected(first, second, mode="2026-07-28", elicitation_callback=answer) as client,
        ):
            called = await client.call_tool("greet")
            return str(called.content[0].text)  # type: ignore[union-attr]

    assert asyncio.run(scenario()) == "asked: Ada"


def connections_in_use() -> int:
    stats = connection.pool.get_stats()  # type: ignore[attr-defined]
    return int(stats["pool_size"] - stats["pool_available"])


@pytest.mark.parametrize("mode", MODES)
def test_synchronous_and_waiting_functions_hold_no_connection(
    transactional_db: None, mode: str
) -> None:
    server = Server("queries")
    waiting: list[int] = []
    released = asyncio.Event()

    @server.tool()
    def synchronous() -> int:
        return User.objects.count()

    @server.tool()
    async def waits() -> int:
        waiting.append(await User.objects.acount())
        await released.wait()
        return await User.objects.acount()

    @server.resource("queries://users")
    def users() -> str:
        return str(User.objects.count())

    @server.prompt()
    def prompt() -> str:
        return str(User.objects.count())

    connection.close()
    before = connections_in_use()

    async def scenario() -> None:
        async with running(server) as site, connected(site, mode=mode) as client:
            calls = [asyncio.create_task(client.call_tool("waits")) for _ in range(CROWD)]
            async with asyncio.timeout(20):
                while len(waiting) < CROWD:
                    await asyncio.sleep(0.01)
                for _ in range(CROWD):
                    assert (await client.call_tool("synchronous")).is_error is False
                    assert (await client.read_resource("queries://users")).contents
                    assert (await client.get_prompt("prompt")).messages
                while connections_in_use() > before:
                    await asyncio.sleep(0.01)
                released.set()
                assert not any(call.is_error for call in await asyncio.gather(*calls))

    asyncio.run(scenario())


@pytest.mark.parametrize("mode", MODES)
def test_call_ends_when_its_client_disconnects(mode: str) -> None:
    server = Server("endless")
    ended = asyncio.Event()

    @server.tool()
    async def endless(context: Context) -> None:
        try:
            while True:
                await context.report_progress(1)
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    async def scenario() -> bytes:
        content, headers = call(mode, "endless", {})
        raw = [(name.encode(), text.encode()) for name, text in fields(headers).items()]
        async with running(server) as site, asyncio.timeout(5):
            _status, answer = await post_and_disconnect(site, content.encode(), raw)
            await ended.wait()
            return answer

    assert b"notifications/progress" in asyncio.run(scenario())


@pytest.mark.parametrize("mode", MODES)
def test_call_is_one_access_line_and_its_log_lines_have_the_same_request_id(
    caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    server = Server("logs")
    seen: list[dict[str, Any]] = []

    @server.tool()
    async def tool(secret: str) -> str:
        seen.append(get_contextvars())
        return secret

    async def scenario() -> Any:
        content, headers = call(mode, "tool", {"secret": "unseen"})
        async with running(server) as site:
            return await post(site, content, authorization="Bearer unseen", **headers)

    access = logging.getLogger("access")
    access.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO):
            response = asyncio.run(scenario())
    finally:
        access.removeHandler(caplog.handler)
    lines = [record.getMessage() for record in caplog.records if record.name == "access"]
    assert lines == ["POST /mcp 200"]
    assert "unseen" in response.text
    (context,) = seen
    assert context["request_id"] == response.headers["x-request-id"]
    assert context["client"] == "127.0.0.1"
    assert "unseen" not in caplog.text


def test_process_imports_no_mcp_package_while_the_hub_is_off() -> None:
    code = (
        "import sys, config.asgi\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} "
        "& {'mcp', 'mcp_hub', 'mcp_types', 'pydantic', 'starlette', 'httpx2', 'oauth2_provider', "
        "'oauthlib', 'jwcrypto'}))"
    )
    source = django_settings.SRC
    environment = os.environ | {"MCP_HUB": "false", "PYTHONPATH": str(source)}
    off = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert off.stdout.strip() == "[]"
    on = forked.run("-c", code, env=environment | {"MCP_HUB": "true"}, cwd=source)
    assert "mcp_hub" in on.stdout

"""Invalid requests: each gets a protocol error, and none causes an error of the server."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from typing import Any

import httpx2
import pytest
from mcp.types import INTERNAL_ERROR, INVALID_REQUEST

from mcp_hub import hub
from tests.mcp_hub.site import post, post_and_disconnect, running

MESSAGES = 10_000
SEED = 1
VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
}
METHODS = (
    *("initialize", "ping", "tools/list", "tools/call", "resources/list", "resources/read"),
    *("prompts/get", "completion/complete", "logging/setLevel", "server/discover"),
    *("subscriptions/listen", "notifications/cancelled", "no/such/method"),
)
PING = '{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
# Values that break parsers, validators and encoders.
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 10**30, "", "\0", "\ud800", "é" * 300, [], {}, [[]], {"": None}),
    *("whoami", "methodhub://servers", "file:///etc/passwd", "../../etc/passwd", VERSION, "\r\n"),
)


def answer(body: str, **headers: str) -> httpx2.Response:
    """Post a message to the hub, and return its answer."""

    async def scenario() -> httpx2.Response:
        async with running(hub.server) as site:
            return await post(site, body, **headers)

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("{", {}, 400),
        ("", {}, 400),
        ("[]", {}, 400),
        ("null", {}, 400),
        ('{"jsonrpc": "2.0", "id": 1}', {}, 400),
        ('{"jsonrpc": "1.0", "id": 1, "method": "ping"}', {}, 400),
        ("[" * 100_000, {}, 400),
        ("{", {"mcp_protocol_version": VERSION}, 400),
        ("[" * 100_000, {"mcp_protocol_version": VERSION}, 400),
        ("1" * 5000, {"mcp_protocol_version": VERSION}, 400),
        (PING, {"mcp_protocol_version": "x"}, 400),
        (PING, {"content_type": "text/plain"}, 400),
        (PING, {"accept": "text/html"}, 406),
        (PING, {"mcp_session_id": "unknown"}, 404),
        (" " * (5 * 2**20), {}, 413),
        (" " * (10 * 2**20 + 1), {}, 413),
    ],
    ids=lambda part: str(part)[:60],
)
def test_bad_request_is_a_protocol_error(body: str, headers: dict[str, str], status: int) -> None:
    assert answer(body, **headers).status_code == status


def test_unknown_session_is_a_json_rpc_error() -> None:
    """Clients of the earlier protocol then begin a new one."""
    response = answer(PING, mcp_session_id="unknown")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": INVALID_REQUEST, "message": "Session not found"},
    }


def value(chance: random.Random, depth: int = 0) -> Any:
    """Return a random value; most are short."""
    kind = chance.random()
    if kind < 0.1 and depth < 4:
        return [value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind < 0.2 and depth < 4:
        return {
            str(chance.choice(ODD)): value(chance, depth + 1) for _ in range(chance.randrange(4))
        }
    return chance.choice(ODD)


def message(chance: random.Random) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return the body and headers of a call that is almost valid."""
    method = chance.choice(METHODS)
    params: Any = {
        "name": "whoami",
        "uri": "methodhub://servers",
        "arguments": {},
        "_meta": dict(META),
    }
    call: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    for _ in range(chance.randrange(3)):
        part = chance.choice([call, params, params["_meta"]])
        key = chance.choice([*part, "progressToken", "cursor", "requestState", "inputResponses"])
        if chance.random() < 0.3:
            part.pop(key, None)
        else:
            part[key] = value(chance)
        params = params if isinstance(call.get("params"), dict) else {"_meta": {}}
        if not isinstance(params.get("_meta"), dict):
            params = {"_meta": {}}
    body = json.dumps(call).encode()
    if chance.random() < 0.2:
        spoilt = bytearray(body)
        for _ in range(chance.randrange(1, 4)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        body = bytes(spoilt[: chance.randrange(len(spoilt))] if chance.random() < 0.3 else spoilt)
    headers = {
        b"host": b"localhost",
        b"content-type": b"application/json",
        b"accept": b"application/json, text/event-stream",
    }
    if chance.random() < 0.6:
        headers |= {b"mcp-protocol-version": VERSION.encode(), b"mcp-method": method.encode()}
        headers[b"mcp-name"] = chance.choice([b"whoami", b"methodhub://servers", b"\xff", b""])
    if chance.random() < 0.05:
        headers[chance.choice([*headers])] = chance.randbytes(5)
    return body, list(headers.items())


def test_fuzzed_messages_cause_no_error_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(SEED)  # noqa: S311 - to be repeatable
    statuses: dict[int, int] = {}

    async def scenario() -> None:
        async with running(hub.server) as site:
            for _ in range(MESSAGES):
                body, headers = message(chance)
                async with asyncio.timeout(10):
                    status, answer = await post_and_disconnect(site, body, headers)
                assert status < 500, (body, headers, answer)
                assert f'"code":{INTERNAL_ERROR}'.encode() not in answer, (body, headers, answer)
                assert b"Traceback" not in answer
                statuses[status] = statuses.get(status, 0) + 1

    caplog.set_level(logging.ERROR, "access")
    with caplog.at_level(logging.ERROR):
        asyncio.run(scenario())
    assert [record.getMessage() for record in caplog.records] == []
    # Both valid and invalid messages were among them.
    assert statuses[200] > MESSAGES * 0.05
    assert statuses[400] > MESSAGES * 0.2

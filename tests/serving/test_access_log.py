"""The access log: the client's address and the request id."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator

from serving.access_log import AccessLog
from serving.client_ip import client_ip

PEER = "10.0.0.1"


@pytest.mark.parametrize(
    ("forwarded_for", "trusted", "client"),
    [
        (b"203.0.113.9", 0, PEER),
        (b"203.0.113.9", 1, "203.0.113.9"),
        (b"1.1.1.1, 203.0.113.9", 1, "203.0.113.9"),
        (b"1.1.1.1, 203.0.113.9, 10.0.0.2", 2, "203.0.113.9"),
        (b"2001:db8::1", 1, "2001:db8::1"),
        # With the client's port.
        (b"1.1.1.1, 203.0.113.9:4711", 1, "203.0.113.9"),
        (b"[2001:db8::1]:443", 1, "2001:db8::1"),
        (b"[2001:db8::1]", 1, "2001:db8::1"),
        (b"::1", 1, "::1"),
        (b"2001:db8::1:443", 1, "2001:db8::1:443"),
        # Fewer entries than proxies, no entry, or no address: the peer's address counts.
        (b"1.1.1.1", 2, PEER),
        (b"", 1, PEER),
        (b" , ,", 1, PEER),
        (b"evil\nlevel=error", 1, PEER),
        (b"203.0.113.9:http", 1, PEER),
        (b"[2001:db8::1", 1, PEER),
        (b"[]:443", 1, PEER),
    ],
)
def test_client_ip_comes_from_the_outermost_trusted_proxy(
    forwarded_for: bytes, trusted: int, client: str
) -> None:
    assert client_ip(PEER, forwarded_for, trusted) == client


async def respond(_scope: object, _receive: object, send: Any) -> None:
    """An application that answers 200."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def request_id(trusted_proxies: int, **headers: str) -> str:
    """Return the id that a request with these headers gets."""

    async def ask() -> str:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "headers": [
                (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
            ],
        }
        asked = ApplicationCommunicator(AccessLog(respond, trusted_proxies), scope)
        start = await asked.receive_output()
        await asked.wait()
        return str(dict(start["headers"])[b"x-request-id"].decode())

    return asyncio.run(ask())


TRACE = "Root=1-67891233-abcdef012345678912345678"


def test_load_balancers_trace_id_takes_precedence_over_x_request_id() -> None:
    assert request_id(1, x_request_id="forged", x_amzn_trace_id=TRACE) == TRACE


def test_request_id_comes_from_a_proxy_that_sends_x_request_id() -> None:
    assert request_id(1, x_request_id="from-nginx") == "from-nginx"


@pytest.mark.parametrize(
    ("trusted_proxies", "headers"),
    [
        (0, {"x_request_id": "forged"}),
        (0, {"x_amzn_trace_id": TRACE}),
        (1, {"x_request_id": "two words"}),
        (1, {"x_request_id": "a" * 129}),
        (1, {}),
    ],
)
def test_request_id_is_generated_unless_a_proxy_sends_a_valid_one(
    trusted_proxies: int, headers: dict[str, str]
) -> None:
    made = request_id(trusted_proxies, **headers)
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert made != request_id(trusted_proxies, **headers)

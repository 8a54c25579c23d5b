"""The access log: the client's address and the request id."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from typing import Any
from unittest.mock import AsyncMock

import pytest
from asgiref.testing import ApplicationCommunicator
from structlog.contextvars import bind_contextvars, get_contextvars

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


class Lines(logging.Handler):
    """Keeps what each line of the log says."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: getattr(record, name) for name in ("status", "duration_ms")}
        self.rows.append(get_contextvars() | fields | {"message": record.getMessage()})


@pytest.fixture
def lines() -> Iterator[Lines]:
    logger, kept = logging.getLogger("access"), Lines()
    logger.addHandler(kept)
    yield kept
    logger.removeHandler(kept)


async def leave(_scope: object, _receive: object, _send: Any) -> None:
    """An application whose client disconnects before the response."""


async def fail(_scope: object, _receive: object, _send: Any) -> None:
    raise ZeroDivisionError


async def fail_late(scope: object, receive: object, send: Any) -> None:
    await respond(scope, receive, send)
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("app", "status"), [(respond, 200), (leave, 499), (fail, 500), (fail_late, 200)]
)
def test_line_has_method_path_status_duration_and_client_but_no_query(
    lines: Lines, app: Any, status: int
) -> None:
    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/\xe4/" + "a" * 1000,
        "raw_path": b"/%C3%A4/" + b"a" * 1000,
        "query_string": b"token=unseen",
        "client": (PEER, 4711),
        "headers": [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-for", b"192.0.2.1")],
    }

    async def ask() -> None:
        request = ApplicationCommunicator(AccessLog(app, 2), scope)
        if app in (fail, fail_late):
            with pytest.raises(ZeroDivisionError):
                await request.wait()
        else:
            await request.wait()
        assert get_contextvars() == {}

    asyncio.run(ask())
    (line,) = lines.rows
    path = "/%C3%A4/" + "a" * 992
    assert line["message"] == f"PUT {path} {status}"
    assert (line["method"], line["path"], line["status"]) == ("PUT", path, status)
    assert line["client"] == "203.0.113.9"
    assert re.fullmatch("[0-9a-f]{32}", line["request_id"])
    # Tenths of a millisecond.
    assert isinstance(line["duration_ms"], float)
    assert 0 <= line["duration_ms"] < 10_000
    assert "unseen" not in str(line)


def test_line_of_a_pipelined_request_shows_nothing_of_the_one_before(lines: Lines) -> None:
    """uvicorn starts a pipelined request in the context of the previous one."""

    async def sign_in(scope: object, receive: object, send: Any) -> None:
        bind_contextvars(user=1)
        await respond(scope, receive, send)

    async def ask_both() -> None:
        for app in (sign_in, respond):
            scope: Any = {"type": "http", "method": "GET", "path": "/", "headers": []}
            site: Any = AccessLog(app, 0)
            await site(scope, None, AsyncMock())

    asyncio.run(ask_both())
    first, second = lines.rows
    assert first["user"] == 1
    assert "user" not in second
    assert second["request_id"] != first["request_id"]


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

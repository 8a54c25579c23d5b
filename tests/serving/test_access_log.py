"""The access log: whose request it was, under which id, and what a line must not hold."""

from __future__ import annotations

import io
import json
import logging

import pytest
from structlog.stdlib import ProcessorFormatter

from serving.client_ip import client_ip
from serving.log_config import configure

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
def test_client_ip_is_the_one_that_the_outermost_trusted_proxy_saw(
    forwarded_for: bytes, trusted: int, client: str
) -> None:
    assert client_ip(PEER, forwarded_for, trusted) == client


def test_password_reset_token_is_masked_in_the_log() -> None:
    buffer = io.StringIO()
    handler = logging.StreamHandler(buffer)
    form = configure("INFO", "json")["formatters"]["stdout"]
    handler.setFormatter(ProcessorFormatter(**{k: v for k, v in form.items() if k != "()"}))
    path = "/accounts/reset/MQ/token-0123456789/"
    record = logging.makeLogRecord({"msg": f"GET {path} 302", "levelname": "INFO", "path": path})
    handler.emit(record)
    assert json.loads(buffer.getvalue())["message"] == "GET /accounts/reset/MQ/***/ 302"
    assert "token-0123456789" not in buffer.getvalue()

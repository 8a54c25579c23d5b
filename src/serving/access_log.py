"""One line for every request, whoever answered it, and its id on all lines that belong to it."""

from __future__ import annotations

import logging
import re
import secrets
import time

from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
    Scope,
)
from structlog.contextvars import bound_contextvars

from serving.client_ip import client_ip

logger = logging.getLogger("access")

# What a proxy or a client may call a request: AWS's trace header, a UUID, a W3C id. Bounded, and
# without white space, so that nobody writes lines into our log.
_ID = re.compile(r"[A-Za-z0-9._:;=+/@-]{1,128}")
# nginx's number for a client that went away before it was answered.
CLIENT_CLOSED_REQUEST = 499
LONGEST_PATH = 1000


class AccessLog:
    """ASGI middleware: log method, path, status, duration and client; never the query string."""

    def __init__(self, app: ASGI3Application, trusted_proxies: int) -> None:
        """Wrap ``app``, behind that many proxies that append to X-Forwarded-For."""
        self.app = app
        self.trusted_proxies = trusted_proxies

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Pass the request on; log it when the last byte is sent, or when it fails."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = _headers(scope)
        request_id = _request_id(headers)
        about = {
            "request_id": request_id,
            "method": scope["method"],
            # As sent, that is percent-encoded: it holds no control character.
            "path": (scope.get("raw_path") or scope["path"].encode())[:LONGEST_PATH].decode(
                "ascii", "backslashreplace"
            ),
            "client": client_ip(
                scope["client"][0] if scope.get("client") else "",  # type: ignore[index]
                headers.get(b"x-forwarded-for", b""),
                self.trusted_proxies,
            ),
        }
        status = 0
        start = time.perf_counter()

        async def send_with_id(event: ASGISendEvent) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                event["headers"] = [*event["headers"], (b"x-request-id", request_id.encode())]
            await send(event)

        with bound_contextvars(**about):
            failed = False
            try:
                await self.app(scope, receive, send_with_id)
            except Exception:
                failed = True
                raise
            finally:
                status = status or (500 if failed else CLIENT_CLOSED_REQUEST)
                duration = round((time.perf_counter() - start) * 1000, 1)
                logger.info(
                    "%s %s %d",
                    about["method"],
                    about["path"],
                    status,
                    extra={"status": status, "duration_ms": duration},
                )


def _headers(scope: HTTPScope) -> dict[bytes, bytes]:
    """Return the request's headers; those sent several times joined with commas, as by RFC 9110."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        headers[name] = headers[name] + b"," + value if name in headers else value
    return headers


def _request_id(headers: dict[bytes, bytes]) -> str:
    for name in (b"x-request-id", b"x-amzn-trace-id"):
        value = headers.get(name, b"").decode("latin-1")
        if _ID.fullmatch(value):
            return value
    return secrets.token_hex(16)

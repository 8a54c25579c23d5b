"""The access log: one line per request, and a request id on every line that belongs to it."""

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
from structlog.contextvars import bind_contextvars, clear_contextvars

from serving.client_ip import client_ip

logger = logging.getLogger("access")

# Ids that proxies make: AWS's trace header, a UUID, a W3C trace id. The length is bounded, and
# white space is excluded so that an id cannot add lines or fields to the log.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:;=+/@-]{1,128}")
# An AWS load balancer sets X-Amzn-Trace-Id; if the client sent one, it adds its own Self field. It
# passes X-Request-ID on unchanged, so that header is used only if the other one is absent.
_REQUEST_ID_HEADERS = (b"x-amzn-trace-id", b"x-request-id")
# nginx's status for a client that disconnected before the response.
CLIENT_CLOSED_REQUEST = 499
MAX_PATH_LENGTH = 1000


class AccessLog:
    """ASGI middleware: log method, path, status, duration and client; never the query string."""

    def __init__(self, app: ASGI3Application, trusted_proxies: int) -> None:
        """Wrap ``app``, which runs behind ``trusted_proxies`` proxies (TRUSTED_PROXY_COUNT)."""
        self.app = app
        self.trusted_proxies = trusted_proxies

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Pass the request on; log it after its last byte is sent, or after it fails."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # Without a proxy, any client could reuse the id of another client's request.
        headers = _headers(scope) if self.trusted_proxies else {}
        request_id = self._request_id(headers)
        context = {
            "request_id": request_id,
            "method": scope["method"],
            # The raw path is percent-encoded, so it holds no control characters.
            "path": (scope.get("raw_path") or scope["path"].encode())[:MAX_PATH_LENGTH].decode(
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
                status = int(event["status"])  # an application may send an HTTPStatus
                event["headers"] = [*event["headers"], (b"x-request-id", request_id.encode())]
            await send(event)

        # The server runs each request in a task, whose context ends with it. A pipelined request
        # inherits the context of the one before.
        clear_contextvars()
        bind_contextvars(**context)
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
                context["method"],
                context["path"],
                status,
                extra={"status": status, "duration_ms": duration},
            )

    def _request_id(self, headers: dict[bytes, bytes]) -> str:
        """Return the id that a trusted proxy gave the request, or a new one."""
        for name in _REQUEST_ID_HEADERS:
            value = headers.get(name, b"").decode("latin-1")
            if _REQUEST_ID.fullmatch(value):
                return value
        return secrets.token_hex(16)


def _headers(scope: HTTPScope) -> dict[bytes, bytes]:
    """Return the request's headers; repeated ones are joined with commas, as by RFC 9110."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        headers[name] = headers[name] + b"," + value if name in headers else value
    return headers

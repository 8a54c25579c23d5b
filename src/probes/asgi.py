"""Liveness and readiness, answered before Django: no thread, host check, redirect or session."""

from __future__ import annotations

import json

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

from probes.state import STATE, State


class Probes:
    """ASGI middleware that answers /livez and /readyz, and does not log them.

    It is the outermost one. A load balancer sends the task's address as Host and no
    X-Forwarded-Proto, so Django would refuse or redirect its probes. Django also needs a thread per
    request, and there may be none left while a backing service does not answer.
    """

    def __init__(self, app: ASGI3Application, state: State = STATE) -> None:
        self.app = app
        self.state = state

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer a probe, or pass the request on."""
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            if scope["path"] == "/livez":
                # No I/O: a backing service that is away must not get the process killed.
                await _respond(send, scope["method"], 200, "text/plain", "ok\n")
                return
            if scope["path"] == "/readyz":
                ready, details = await self.state.read()
                body = json.dumps({"ready": ready, **details}) + "\n"
                status = 200 if ready else 503
                await _respond(send, scope["method"], status, "application/json", body)
                return
        await self.app(scope, receive, send)


async def _respond(
    send: ASGISendCallable, method: str, status: int, content_type: str, text: str
) -> None:
    body = text.encode()
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send(
        {"type": "http.response.start", "status": status, "headers": headers, "trailers": False}
    )
    body = b"" if method == "HEAD" else body
    await send({"type": "http.response.body", "body": body, "more_body": False})

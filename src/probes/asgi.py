"""Liveness and readiness, answered ahead of Django: no thread, host check, redirect or session."""

from __future__ import annotations

import json

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

from probes.state import STATE, State


class Probes:
    """ASGI middleware that answers /livez and /readyz, and does not log them.

    It stands outermost. A balancer asks with the task's address as Host and without
    X-Forwarded-Proto, which Django would refuse or redirect; and Django runs each request in a
    thread, of which there may be none left when a backing service hangs.
    """

    def __init__(self, app: ASGI3Application, state: State = STATE) -> None:
        """Wrap ``app``."""
        self.app = app
        self.state = state

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer a probe, or pass the request on."""
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            if scope["path"] == "/livez":
                # No I/O: no backing service can have the process killed.
                await _answer(send, scope["method"], 200, "text/plain", "ok\n")
                return
            if scope["path"] == "/readyz":
                ready, why = await self.state.read()
                body = json.dumps({"ready": ready, **why}) + "\n"
                status = 200 if ready else 503
                await _answer(send, scope["method"], status, "application/json", body)
                return
        await self.app(scope, receive, send)


async def _answer(send: ASGISendCallable, method: str, status: int, kind: str, text: str) -> None:
    body = text.encode()
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send(
        {"type": "http.response.start", "status": status, "headers": headers, "trailers": False}
    )
    body = b"" if method == "HEAD" else body
    await send({"type": "http.response.body", "body": body, "more_body": False})

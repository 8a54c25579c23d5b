"""Limits on request bodies, which Django writes to /tmp before it calls any middleware."""

from __future__ import annotations

import asyncio
import errno
import logging
import shutil
import tempfile
from contextlib import suppress

from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    Scope,
)
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.template import loader

from serving.unavailability import RETRY_AFTER, is_unavailability

logger = logging.getLogger(__name__)

# Seconds that a client may go on sending after it was refused. If the connection were closed at
# once, the kernel would reset it, and the client might never read the answer.
LINGER_TIMEOUT = 2.0


class RequestBodyLimit:
    """ASGI middleware: 413 to a body that is too large, 503 while /tmp has no room for it.

    There are two limits, since one client can send many bodies. REQUEST_BODY_MAX_BYTES bounds each
    body. Together, the bodies of all processes get half of /tmp. The other half is for the files
    that Django copies out of them, so an accepted upload can always be processed. Bodies that
    Django keeps in memory (FILE_UPLOAD_MAX_MEMORY_SIZE) do not count, so forms work with /tmp full.
    """

    def __init__(self, app: ASGI3Application, processes: int) -> None:
        """Wrap ``app``, which runs in ``processes`` processes that share one /tmp."""
        self.app = app
        # The first gettempdir() writes a test file, so it would find no directory with /tmp full.
        self.spool_limit = shutil.disk_usage(tempfile.gettempdir()).total // 2 // processes
        self.spooled = 0

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Pass the request on, unless its body is refused."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        size = spooled = 0
        received = started = False

        async def receive_chunk() -> ASGIReceiveEvent:
            nonlocal received
            event = await receive()
            received = event["type"] != "http.request" or not event.get("more_body", False)
            return event

        async def receive_within_limits() -> ASGIReceiveEvent:
            nonlocal size, spooled
            event = await receive_chunk()
            if event["type"] == "http.request":
                size += len(event.get("body", b""))
                if size > settings.REQUEST_BODY_MAX_BYTES:
                    raise RequestDataTooBig
                if size > settings.FILE_UPLOAD_MAX_MEMORY_SIZE:
                    self.spooled += size - spooled
                    spooled = size
                    if self.spooled > self.spool_limit:
                        raise OSError(errno.ENOSPC, "The bodies of other requests use half of /tmp")
            return event

        async def send_and_mark_started(event: ASGISendEvent) -> None:
            nonlocal started
            started = True
            await send(event)

        async def refuse(status: int, headers: list[tuple[bytes, bytes]]) -> None:
            """Send an error page, then discard the rest of the body for LINGER_TIMEOUT."""
            start, body = _error_page(status, headers)
            await send(start)
            await send(body | {"more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_TIMEOUT):
                    while not received:
                        await receive_chunk()
            await send(body | {"body": b""})

        refusal: tuple[int, list[tuple[bytes, bytes]]] | None = None
        try:
            length = dict(scope["headers"]).get(b"content-length", b"0")
            if length.isdigit() and int(length) > settings.REQUEST_BODY_MAX_BYTES:
                raise RequestDataTooBig
            await self.app(scope, receive_within_limits, send_and_mark_started)
        except RequestDataTooBig:
            refusal = 413, []
        except OSError as error:
            if started or not is_unavailability(error):
                raise
            logger.error("Refused a request body: %s", error)
            refusal = 503, [(b"retry-after", str(RETRY_AFTER).encode())]
        finally:
            self.spooled -= spooled
        # Not in the except clauses: there, the error's traceback would keep Django's file open.
        if refusal:
            await refuse(*refusal)


def _error_page(
    status: int, headers: list[tuple[bytes, bytes]]
) -> tuple[HTTPResponseStartEvent, HTTPResponseBodyEvent]:
    page = loader.get_template(f"{status}.html").render().encode()
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", str(len(page)).encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
            *headers,
        ],
        "trailers": False,
    }, {"type": "http.response.body", "body": page, "more_body": False}

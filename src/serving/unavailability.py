"""What a request gets when a resource that it needs is away: 503, soon, and nothing secret."""

from __future__ import annotations

import errno
import logging
import sys
import tempfile

from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.template import loader
from django.views.defaults import server_error as django_server_error

logger = logging.getLogger(__name__)

RETRY_AFTER = 5  # seconds
TITLE = "The service is unavailable for a moment"


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Answer an uncaught exception, as handler500 of the URLconf: 503 or Django's own 500.

    Here, not in a middleware: Django asks for it from any depth, middleware included.
    """
    if not is_unavailability(sys.exception()):
        return django_server_error(request)
    headers = {"Retry-After": str(RETRY_AFTER), "Cache-Control": "no-store"}
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        return JsonResponse({"error": TITLE}, status=503, headers=headers)
    return HttpResponse(loader.get_template("503.html").render(), status=503, headers=headers)


def is_unavailability(error: BaseException | None) -> bool:
    """Return whether an exception means PostgreSQL away or busy, or no space on /tmp."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    return isinstance(error, OperationalError | InterfaceError)


class Unavailable:
    """ASGI middleware that answers 503 when a large body does not fit on /tmp.

    Django spools it there before there is a request, so that no handler of its own is asked.
    """

    def __init__(self, app: ASGI3Application) -> None:
        """Wrap ``app``."""
        self.app = app
        # Python looks for the place by writing there, once: with /tmp full it would find none.
        tempfile.gettempdir()

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Pass the request on; answer it when that fails for want of space."""
        started = False

        async def watch(event: ASGISendEvent) -> None:
            nonlocal started
            started = True
            await send(event)

        try:
            await self.app(scope, receive, watch)
        except OSError as error:
            if started or not is_unavailability(error):
                raise
            logger.exception("No space for a request's body")
            body = loader.get_template("503.html").render().encode()
            headers = [
                (b"content-type", b"text/html; charset=utf-8"),
                (b"content-length", str(len(body)).encode()),
                (b"retry-after", str(RETRY_AFTER).encode()),
                # What the client still sends is not read.
                (b"connection", b"close"),
            ]
            await send(
                {
                    "type": "http.response.start",
                    "status": 503,
                    "headers": headers,
                    "trailers": False,
                }
            )
            await send({"type": "http.response.body", "body": body, "more_body": False})

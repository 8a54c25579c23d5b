"""The project's addresses, one that streams, and some that fail."""

import asyncio
import time
from collections.abc import AsyncIterator

from django.core.exceptions import BadRequest, PermissionDenied
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from config.urls import handler500 as handler500
from config.urls import urlpatterns as project

EVENTS = 4
PAUSE = 0.5  # seconds


async def events() -> AsyncIterator[str]:
    """Yield the time of each event's making, a pause apart."""
    for number in range(EVENTS):
        if number:
            await asyncio.sleep(PAUSE)
        yield f"data: {time.time()}\n\n"


async def stream(_request: HttpRequest) -> StreamingHttpResponse:
    """Stream server-sent events."""
    return StreamingHttpResponse(events(), content_type="text/event-stream")


def fail(_request: HttpRequest, status: int) -> HttpResponse:
    """Fail in the way that is answered with that status."""
    raise {400: BadRequest, 403: PermissionDenied, 503: OperationalError}.get(status, RuntimeError)


urlpatterns = [*project, path("stream/", stream), path("fail/<int:status>/", fail)]

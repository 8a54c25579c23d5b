"""The project's addresses, and one that streams."""

import asyncio
import time
from collections.abc import AsyncIterator

from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path

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


urlpatterns = [*project, path("stream/", stream)]

"""The project's URLs, and further ones that stream, block or fail."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from weakref import ref

from django.core.exceptions import BadRequest, PermissionDenied
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from config.urls import handler500 as handler500
from config.urls import urlpatterns as project

logger = logging.getLogger("stream")

EVENTS = 4
PAUSE = 0.5  # seconds


async def events() -> AsyncIterator[str]:
    """Yield the current time, EVENTS times, with a pause between."""
    for number in range(EVENTS):
        if number:
            await asyncio.sleep(PAUSE)
        yield f"data: {time.time()}\n\n"


async def stream(_request: HttpRequest) -> StreamingHttpResponse:
    """Stream server-sent events."""
    return StreamingHttpResponse(events(), content_type="text/event-stream")


def endless() -> Iterator[str]:
    """Yield events until the stream is closed."""
    try:
        while True:
            yield "data: event\n\n"
            time.sleep(PAUSE)
    finally:
        logger.info("The stream was closed")


async def endless_async() -> AsyncIterator[str]:
    """Yield events until the stream is closed."""
    try:
        while True:
            yield "data: event\n\n"
            await asyncio.sleep(PAUSE)
    finally:
        logger.info("The stream was closed")


def endless_stream(_request: HttpRequest) -> StreamingHttpResponse:
    """Stream from a synchronous iterator."""
    return StreamingHttpResponse(endless(), content_type="text/event-stream")


async def endless_async_stream(request: HttpRequest) -> StreamingHttpResponse:
    """Stream from an asynchronous iterator, after loading the session's user."""
    await request.auser()
    return StreamingHttpResponse(endless_async(), content_type="text/event-stream")


def block(_request: HttpRequest, seconds: int) -> HttpResponse:
    """Block the thread."""
    time.sleep(seconds)
    return HttpResponse("done")


async def wait_async(_request: HttpRequest, seconds: int) -> HttpResponse:
    """Wait. Below an entry of ASYNC_PATH_PREFIXES, this holds no thread."""
    try:
        await asyncio.sleep(seconds)
    finally:
        # A clean-up that awaits, as the release of a lock does.
        await asyncio.sleep(0.1)
        logger.info("The view ended")
    return HttpResponse("done")


class Node:
    """An object that only the garbage collector frees, since it refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def garbage(_request: HttpRequest) -> HttpResponse:
    """Return whether the process frees garbage before there is much of it."""
    first = ref(Node())
    for _ in range(100_000):
        Node()
    return HttpResponse("kept" if first() else "freed")


def fail(_request: HttpRequest, status: int) -> HttpResponse:
    """Raise the exception that the site answers with that status."""
    raise {400: BadRequest, 403: PermissionDenied, 503: OperationalError}.get(status, RuntimeError)


urlpatterns = [
    *project,
    path("stream/", stream),
    path("endless/sync/", endless_stream),
    path("endless/async/", endless_async_stream),
    path("prefix/endless/", endless_async_stream),
    path("block/<int:seconds>/", block),
    path("wait/<int:seconds>/", wait_async),
    path("prefix/wait/<int:seconds>/", wait_async),
    path("fail/<int:status>/", fail),
    path("garbage/", garbage),
]

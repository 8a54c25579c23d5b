"""Django's ASGI handler near the speed of WSGI, for all but asynchronous views.

Django's own runs each synchronous middleware and view as an errand to a thread, which it starts for
the request alone: some ten errands for a page. Here a synchronous view has one errand for the whole
request, from its first signal to its last, to a thread that is kept, as under a WSGI server. An
asynchronous view is left to Django's own handler, where it holds no thread while it waits.

The choice is one of speed alone: where a middleware sends a request elsewhere than the URLconf
says, Django's adapters let either chain run the view. Each chain has middleware instances of its
own. Of a view that is no stream, request_finished is sent before the response: its connection is
back in the pool however slowly a client reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from inspect import iscoroutinefunction
from itertools import chain
from typing import IO, Any, cast

from asgiref.sync import sync_to_async
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.db import close_old_connections
from django.http import FileResponse
from django.urls import Resolver404, ResolverMatch, resolve, set_script_prefix

# Bytes of a file that are read at once; a file that is no larger is sent from memory.
FILE_BLOCK = 2**19
# Where in the scope the choice of the chain leaves what it found; ASGI allows own names.
FOUND = "methodhub.found"


def find(scope: Any) -> ResolverMatch | None:
    """Return what the URLconf makes of a request's path, and note it; None if it leads nowhere."""
    path = scope["path"].removeprefix(get_script_prefix(scope).rstrip("/"))
    try:
        found = resolve(path)
    except Resolver404:
        found = None
    scope[FOUND] = path, found
    return found


class Handler(ASGIHandler):
    """The ASGI handler of synchronous views; what is asynchronous it passes on."""

    chunk_size = FILE_BLOCK

    def __init__(self, threads: int) -> None:
        """Load both chains of middleware; run so many synchronous views at once, at most."""
        BaseHandler.__init__(self)
        self.load_middleware(is_async=False)
        self.asynchronous = ASGIHandler()
        executor = ThreadPoolExecutor(threads, "view")
        self.respond = sync_to_async(self._respond, thread_sensitive=False, executor=executor)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, in the thread-sensitive context that ASGIHandler made."""
        found = find(scope)
        if found and iscoroutinefunction(found.func):
            await self.asynchronous.handle(scope, receive, send)
            return
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        response = await self.respond(scope, body)
        if response.closed:
            await self.send_response(response, send)
        else:
            await self._send_stream(response, receive, send)

    def _respond(self, scope: Any, body: IO[bytes]) -> Any:
        """Return the response: closed, and still to be sent, or open if it is a stream."""
        try:
            set_script_prefix(get_script_prefix(scope))
            signals.request_started.send(sender=type(self), scope=scope)
            request, refusal = self.create_request(scope, body)
            response: Any = self.get_response(request) if request else refusal
            if request:
                response._handler_class = type(self)
            else:
                body.close()
            if not response.streaming or _in_memory(response):
                response.close()
            return response
        except BaseException:
            body.close()
            raise
        finally:
            # A stream goes on in a thread of its own, and this one turns to another request.
            close_old_connections()

    def resolve_request(self, request: Any) -> ResolverMatch:
        """Take what was found at first, unless a middleware wants another URLconf or path."""
        path, found = request.scope[FOUND]
        if not found or hasattr(request, "urlconf") or request.path_info != path:
            return super().resolve_request(request)
        request.resolver_match = found
        return cast("ResolverMatch", found)

    async def _send_stream(self, response: Any, receive: Any, send: Any) -> None:
        """Send a stream as it is made, until its client goes; close it."""
        if not response.is_async:
            response.streaming_content = _in_its_thread(response.streaming_content)
        try:
            try:
                async with asyncio.TaskGroup() as tasks:
                    listening = tasks.create_task(self.listen_for_disconnect(receive))
                    await self.send_response(response, send)
                    listening.cancel()
            except* RequestAborted:
                pass
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            await sync_to_async(response.close)()


def _in_memory(response: Any) -> bool:
    """Read a file's first block; return whether that was all."""
    if not isinstance(response, FileResponse) or response.is_async:
        return False
    response.block_size = FILE_BLOCK
    parts = cast("Iterator[bytes]", response.streaming_content)
    start, size = [], 0
    for part in parts:
        start.append(part)
        size += len(part)
        if size >= FILE_BLOCK:
            response.streaming_content = chain(start, parts)
            return False
    response.streaming_content = _at_once(start)
    return True


async def _at_once(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def _in_its_thread(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the parts of a synchronous stream, all made in the request's own thread."""
    following = sync_to_async(lambda: next(parts, None))
    while (part := await following()) is not None:
        yield part

"""An ASGI handler that runs whole requests in a thread pool, nearly as fast as WSGI.

Django's own ASGI handler hops to a thread for every synchronous middleware and for the view: about
ten times for a page. This handler hops once. A thread of the pool runs the whole request, from
request_started to the response, as a thread of a WSGI server does. A stream is then sent from the
event loop, so an open stream holds no thread of the pool.

Asynchronous views work too, but hold their thread until they return a response. Paths that start
with an entry of settings.ASYNC_PATH_PREFIXES go to Django's own ASGI handler, where a view that
awaits holds no thread. Either way Django alone resolves the URL and calls the view.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import IO, Any, cast

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import FileResponse
from django.urls import set_script_prefix

from serving.request_thread import RequestThread
from serving.unavailability import unavailable_response

logger = logging.getLogger(__name__)

# Bytes of a file to read at once. A file up to this size is sent from memory.
FILE_BLOCK = 2**19
# Longest queue, in requests per thread. With the default pool, a worker queues up to 96 requests
# and serves them in about a second. More requests would wait longer than users do.
QUEUED_PER_THREAD = 2


class ThreadPoolASGIHandler(ASGIHandler):
    """Django's ASGI handler, with the synchronous middleware chain in a pool of ``threads``."""

    chunk_size = FILE_BLOCK

    def __init__(self, threads: int) -> None:
        BaseHandler.__init__(self)
        self.load_middleware(is_async=False)
        self.async_prefixes = tuple(settings.ASYNC_PATH_PREFIXES)
        # This loads a second middleware chain, so it is created only if a path needs it.
        self.async_handler = ASGIHandler() if self.async_prefixes else None
        executor = ThreadPoolExecutor(threads, "view")
        self.respond = sync_to_async(self._respond, thread_sensitive=False, executor=executor)
        self.free_threads = asyncio.Semaphore(threads)
        self.max_queued = QUEUED_PER_THREAD * threads
        self.queued = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Choose the middleware chain, and answer the request.

        Raises:
            ValueError: the connection is not HTTP, for example a WebSocket.
        """
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)  # raises
        path = scope["path"].removeprefix(get_script_prefix(scope).rstrip("/"))
        if self.async_handler and path.startswith(self.async_prefixes):
            async with _request_thread():
                await self.async_handler(scope, receive, send)
        else:
            await self.handle(scope, receive, send)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer the request from a thread of the pool."""
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        if self.free_threads.locked() and self.queued >= self.max_queued:
            await self._refuse(scope, body, send)
            return
        if not await self._acquire_thread(receive):
            body.close()
            return
        try:
            response, transactions = await self.respond(scope, body)
        finally:
            self.free_threads.release()
        if response.closed:
            await self.send_response(response, send)
        else:
            async with _request_thread():
                await self._send_stream(response, transactions, receive, send)

    async def _acquire_thread(self, receive: Any) -> bool:
        """Wait for a free thread; return False, without one, if the client disconnects first."""
        if not self.free_threads.locked():
            return await self.free_threads.acquire()
        acquired = False
        self.queued += 1
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self.listen_for_disconnect(receive))
                acquired = await self.free_threads.acquire()
                listening.cancel()
        except* RequestAborted:
            if acquired:
                self.free_threads.release()
            acquired = False
        finally:
            self.queued -= 1
        return acquired

    async def _refuse(self, scope: Any, body: IO[bytes], send: Any) -> None:
        """Answer 503 because too many requests wait for a thread."""
        logger.warning("All threads are busy and %d requests wait: answering 503", self.queued)
        request, bad_request = self.create_request(scope, body)
        response: Any = unavailable_response(request) if request else bad_request
        body.close()
        await self.send_response(response, send)

    def _respond(self, scope: Any, body: IO[bytes]) -> tuple[Any, list[BaseDatabaseWrapper]]:
        """Return the response, not yet sent, and the connections whose transaction a stream needs.

        The response is closed already unless it is a stream.
        """
        try:
            set_script_prefix(get_script_prefix(scope))
            signals.request_started.send(sender=type(self), scope=scope)
            request, bad_request = self.create_request(scope, body)
            response: Any = self.get_response(request) if request else bad_request
            if request:
                response._handler_class = type(self)
            else:
                body.close()
            if not response.streaming or _read_small_file(response):
                # This sends request_finished before the response is sent, so a client that reads
                # slowly holds no database connection.
                response.close()
                return response, []
            return response, _detach_transactions()
        except BaseException:
            body.close()
            raise
        finally:
            # A stream continues in another thread, and this thread serves another request.
            close_old_connections()

    async def _send_stream(
        self, response: Any, transactions: list[BaseDatabaseWrapper], receive: Any, send: Any
    ) -> None:
        """Send a stream part by part until it ends or the client disconnects; close it."""
        if transactions:
            await sync_to_async(_attach_transactions)(transactions)
        if not response.is_async:
            response.streaming_content = _iterate_in_request_thread(response.streaming_content)
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


@contextlib.asynccontextmanager
async def _request_thread() -> AsyncIterator[None]:
    """Run the synchronous calls of the block's asynchronous code in one thread of their own."""
    thread = RequestThread()
    try:
        async with ThreadSensitiveContext(executor=thread):
            yield
    finally:
        # The thread ends after its queued calls.
        thread.shutdown(wait=False)


def _read_small_file(response: Any) -> bool:
    """Read a file's first block; return whether that was the whole file."""
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
    response.streaming_content = _iterate_async(start)
    return True


async def _iterate_async(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def _detach_transactions() -> list[BaseDatabaseWrapper]:
    """Take from this thread, and return, the connections inside a transaction.

    An iterator that the view has begun to read may have entered ``atomic``. Its transaction must
    continue in the thread that reads the rest. Left here, it would include the queries of this
    thread's next request.
    """
    detached = [each for each in connections.all(initialized_only=True) if each.in_atomic_block]
    for connection in detached:
        connection.inc_thread_sharing()
        del connections[connection.alias]
    return detached


def _attach_transactions(detached: list[BaseDatabaseWrapper]) -> None:
    for connection in detached:
        connections[connection.alias] = connection


async def _iterate_in_request_thread(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the parts of a synchronous stream, each made in the request's own thread."""
    next_part = sync_to_async(lambda: next(parts, None))
    while (part := await next_part()) is not None:
        yield part

"""Threads for the synchronous calls of asynchronous code, without idle database connections."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from django.db import connections


def release_connections() -> None:
    """Return this thread's connections to the pool, except those inside a transaction."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            # CONN_MAX_AGE is 0, so every connection is obsolete.
            connection.close_if_unusable_or_obsolete()


class RequestThread(Executor):
    """Runs the thread-sensitive calls of one request, such as its queries in asynchronous code.

    By itself, Django keeps a connection until it closes the response. A stream would then hold one
    for as long as it is open, and a request that is cancelled might never return its own. So this
    thread returns its connections after each call. Consequence: each call with a query takes a
    connection from the pool.
    """

    def __init__(self) -> None:
        # Started by the first call, because most requests make none.
        self._thread: ThreadPoolExecutor | None = None

    def submit[**P, R](
        self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "request")
        return self._thread.submit(_run, function, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait, cancel_futures=cancel_futures)


class SharedThreads(Executor):
    """Runs the calls of one request one after another, in threads that all requests share.

    A stream may be open for hours between two calls. A RequestThread of its own would be idle for
    all that time. Consequence: a transaction must begin and end within one call.
    """

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._running = False
        self._lock = threading.Lock()

    def submit[**P, R](
        self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        future: Future[R] = Future()
        with self._lock:
            self._calls.append((future, partial(_run, function, *args, **kwargs)))
            if not self._running:
                self._running = True
                self._threads.submit(self._run_calls)
        return future

    def _run_calls(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._running = False
                    return
                future, call = self._calls.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001 - the caller gets every exception
                    future.set_exception(error)


def _run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    finally:
        release_connections()

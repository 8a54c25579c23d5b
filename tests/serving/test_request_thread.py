"""The threads that run a request's synchronous calls."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.request_thread import RequestThread, SharedThreads


def test_cancelled_call_does_not_run_and_does_not_stop_the_next() -> None:
    ran: list[str] = []
    release = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        calls = SharedThreads(threads)
        calls.submit(release.wait, 10)
        cancelled = calls.submit(ran.append, "cancelled")
        last = calls.submit(ran.append, "last")
        assert cancelled.cancel()
        release.set()
        last.result(10)
    assert ran == ["last"]


def test_call_gets_its_arguments_and_raises_its_error() -> None:
    with ThreadPoolExecutor(1) as threads:
        for calls in (SharedThreads(threads), RequestThread()):
            assert calls.submit(dict, [("a", 1)], b=2).result(10) == {"a": 1, "b": 2}
            with pytest.raises(ValueError, match="invalid literal"):
                calls.submit(int, "x").result(10)
            calls.shutdown()


def test_request_without_calls_starts_no_thread() -> None:
    before = threading.active_count()
    thread = RequestThread()
    thread.shutdown()
    assert threading.active_count() == before

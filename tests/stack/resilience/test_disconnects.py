"""Clients that disconnect in the middle of a request."""

from __future__ import annotations

import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from scripts.stack.engine import ROOT, Stack
from tests.stack.figures import figure

REQUESTS = 200
POOL = 2


@pytest.mark.parametrize("path", ["/admin/accounts/user/", "/endless/async/", "/prefix/endless/"])
def test_disconnects_leak_no_database_connection(stack: Stack, path: str) -> None:
    """Each lost connection would shrink the pool, until no page is served."""
    container = stack.start(
        env={
            "DATABASE_POOL_SIZE": str(POOL),
            "WORKERS": "1",
            "DJANGO_SETTINGS_MODULE": "extra_settings",
            "PYTHONPATH": "/app/src:/apps",
        },
        options=("--volume", f"{ROOT}/tests/stack/apps:/apps:ro"),
    )
    try:
        container.wait_ready()
        browser = container.browser()
        password = stack.canaries["DJANGO_SUPERUSER_PASSWORD"]
        assert browser.login("admin@example.com", password).status == 302
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"
        address = urlsplit(container.url)
        chance = random.Random(1)  # noqa: S311 - to be repeatable

        def disconnect_after(seconds: float) -> None:
            with socket.create_connection((str(address.hostname), address.port)) as connection:
                connection.sendall(request.encode())
                time.sleep(seconds)

        # As many at once as there are connections, so that few requests wait for one.
        with ThreadPoolExecutor(POOL) as clients:
            list(clients.map(disconnect_after, [chance.random() * 0.1 for _ in range(REQUESTS)]))
        time.sleep(1)
        statuses = [browser.get("/admin/").status for _ in range(10)]
        figure("disconnects", f"{REQUESTS} requests to {path}, a pool of {POOL}", "10 pages: 200")
        assert statuses == [200] * 10
        assert "Exception in ASGI application" not in container.logs()
    finally:
        container.remove()


def test_abandoned_requests_do_not_delay_the_next(stack: Stack) -> None:
    """Requests in the queue are dropped when their clients disconnect."""
    container = stack.start(
        env={
            "WORKERS": "1",
            "DJANGO_SETTINGS_MODULE": "extra_settings",
            "PYTHONPATH": "/app/src:/apps",
        },
        options=("--volume", f"{ROOT}/tests/stack/apps:/apps:ro"),
    )
    try:
        container.wait_ready()
        address = urlsplit(container.url)
        threads = int(
            container.python(
                "from backends.database import thread_count\n"
                "from environment.reading import load_or_exit\n"
                "print(thread_count(load_or_exit()))"
            )
        )
        abandoned = [
            socket.create_connection((str(address.hostname), address.port))
            for _ in range(threads + 42)
        ]
        for connection in abandoned:
            connection.sendall(b"GET /block/1/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.3)
        for connection in abandoned:
            connection.close()
        page = container.browser().get("/")
        figure("disconnects", f"{len(abandoned)} requests abandoned", f"page: {page.seconds:.1f} s")
        assert page.status == 200
        # Requests that already have a thread run to their end, which takes a second.
        assert page.seconds < 2
        time.sleep(1)
        statuses = [
            record["status"] for record in container.records() if record.get("path") == "/block/1/"
        ]
        assert statuses.count(499) == 42
    finally:
        container.remove()

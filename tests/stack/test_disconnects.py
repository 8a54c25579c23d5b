"""Clients that go away in the middle of a request."""

from __future__ import annotations

import random
import socket
import time
from urllib.parse import urlsplit

from scripts.stack.engine import Stack
from tests.stack.figures import figure

REQUESTS = 200
POOL = 2


def test_clients_that_go_away_take_no_database_connection_with_them(stack: Stack) -> None:
    """Each lost connection would make the pool one smaller for ever, until no page is served."""
    container = stack.start(env={"DATABASE_POOL_SIZE": str(POOL), "WORKERS": "1"})
    try:
        container.wait_ready()
        browser = container.browser()
        stack.ensure_superuser()
        password = stack.canaries["DJANGO_SUPERUSER_PASSWORD"]
        assert browser.login("admin@example.com", password).status == 302
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        request = (
            f"GET /admin/accounts/user/ HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"
        )
        address = urlsplit(container.url)
        chance = random.Random(1)  # noqa: S311 - to be repeatable
        for _ in range(REQUESTS):
            with socket.create_connection((str(address.hostname), address.port)) as wire:
                wire.sendall(request.encode())
                time.sleep(chance.random() * 0.1)
        time.sleep(1)
        statuses = [browser.get("/admin/").status for _ in range(10)]
        figure(
            "clients go away", f"{REQUESTS} requests broken off, a pool of {POOL}", "10 pages: 200"
        )
        assert statuses == [200] * 10
        assert "Exception in ASGI application" not in container.logs()
    finally:
        container.remove()

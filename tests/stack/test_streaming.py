"""Streams: both targets send each part as it is made, and open streams slow no page down."""

from __future__ import annotations

import statistics
import time
import urllib.request

import pytest

from scripts.stack.engine import ROOT, Stack
from tests.stack.figures import figure

EXTRA_SITE = {"DJANGO_SETTINGS_MODULE": "extra_settings", "PYTHONPATH": "/app/src:/apps"}
APPS = ("--volume", f"{ROOT}/tests/stack/apps:/apps:ro")


@pytest.mark.parametrize("target", ["dev", "ecs"])
def test_async_view_sends_events_as_they_are_made(stack: Stack, target: str) -> None:
    web = stack.start(target=target, env=EXTRA_SITE, options=APPS).wait_ready()
    try:
        made, received = [], []
        with urllib.request.urlopen(f"{web.url}/stream/", timeout=10) as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            for line in response:
                if line.startswith(b"data: "):
                    received.append(time.time())
                    made.append(float(line.removeprefix(b"data: ")))
        assert len(made) == 4
        # Each event arrived before the next was made, so nothing on the way buffers them.
        assert all(before < after for before, after in zip(received, made[1:], strict=False))
    finally:
        web.remove()


@pytest.mark.parametrize(
    ("env", "streams"),
    [({"DATABASE_POOL_SIZE": "4", "WORKERS": "1"}, 8), ({}, 200)],
    ids=["more streams than connections", "200 streams, default settings"],
)
def test_open_streams_of_users_do_not_slow_pages(
    stack: Stack, env: dict[str, str], streams: int
) -> None:
    web = stack.start(env=EXTRA_SITE | env, options=APPS).wait_ready()
    try:
        browser = web.browser()
        password = stack.canaries["DJANGO_SUPERUSER_PASSWORD"]
        assert browser.login("admin@example.com", password).status == 302
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        name = str(web.inspect()["Name"]).lstrip("/")
        pages = stack.client("tests/stack/load.py", "streams", name, str(streams), cookie)
        without, during = (
            statistics.median(seconds for _, seconds in pages[key]) * 1000
            for key in ("without", "with")
        )
        figure("streams", f"{streams} open", f"page {during:.1f} ms, without {without:.1f} ms")
        assert {status for status, _ in pages["with"]} == {200}
        # The streams' own events take processor time as well, hence the margin.
        assert during < 3 * without + 20
    finally:
        web.remove()

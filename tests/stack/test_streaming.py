"""Both targets deliver a stream while it is being made."""

from __future__ import annotations

import time
import urllib.request

import pytest

from tests.stack.engine import HERE, Stack


@pytest.mark.parametrize("target", ["dev", "ecs"])
def test_an_async_view_delivers_events_as_they_are_made(stack: Stack, target: str) -> None:
    web = stack.start(
        target=target,
        env={
            "DJANGO_SETTINGS_MODULE": "streaming_settings",
            "PYTHONPATH": "/app/src:/apps",
        },
        options=("--volume", f"{HERE}/apps:/apps:ro"),
    ).wait_ready()
    try:
        made, came = [], []
        with urllib.request.urlopen(f"{web.url}/stream/", timeout=10) as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            for line in response:
                if line.startswith(b"data: "):
                    came.append(time.time())
                    made.append(float(line.removeprefix(b"data: ")))
        assert len(made) == 4
        # Each came before the next was made: nothing on the way collects.
        assert all(before < after for before, after in zip(came, made[1:], strict=False))
    finally:
        web.remove()

"""Backing services that a test can pause."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from django.db import connection
from pytest_django import Settings

from tests.backends.proxy import Proxy, proxy


@pytest.fixture
def redis(settings: Settings) -> Iterator[Proxy]:
    """The real Redis, behind a proxy that can be paused."""
    url = urlsplit(settings.ENV.REDIS_URL)
    with proxy(str(url.hostname), url.port or 6379) as made:
        login = url.netloc.rpartition("@")[0]
        address = f"{login}@127.0.0.1:{made.port}" if login else f"127.0.0.1:{made.port}"
        location = url._replace(netloc=address).geturl()
        settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": location}}
        yield made


@pytest.fixture
def postgres() -> Iterator[Proxy]:
    """The real PostgreSQL, behind a proxy that can be paused."""
    settings = connection.settings_dict
    with proxy(str(settings["HOST"]), int(settings["PORT"] or 5432)) as made:
        yield made


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until the condition holds; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)

"""Fixtures of all tests: the real PostgreSQL, and the real Redis under keys of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.db import connections
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from tests.forked import refuse_public_sockets

sys.addaudithook(refuse_public_sockets)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow-waiting tests first, so that other tests run while they wait."""
    items.sort(key=lambda item: item.get_closest_marker("waits") is None)


@pytest.fixture(autouse=True)
def own_cache(settings: Settings, worker_id: str) -> Iterator[None]:
    """Prefix cache keys, so that neither another worker nor a running site shares them."""
    prefix = f"test-{os.getpid()}-{worker_id}"
    settings.CACHES = {"default": settings.CACHES["default"] | {"KEY_PREFIX": prefix}}
    yield
    cache.delete_pattern("*")  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def fast_password_hasher(settings: Settings) -> None:
    """Hash new passwords with MD5; existing hashes of the real hashers still verify."""
    fast = "django.contrib.auth.hashers.MD5PasswordHasher"
    settings.PASSWORD_HASHERS = [fast, *settings.PASSWORD_HASHERS]


@pytest.fixture(scope="session", autouse=True)
def close_pools() -> Iterator[None]:
    """Close the connection pools: their threads would keep the process alive."""
    yield
    for connection in connections.all(initialized_only=True):
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]


@pytest.fixture
def superuser(db: None) -> User:
    """A user with all permissions."""
    return User.objects.create_superuser("Super@Example.com", "correct horse")


@pytest.fixture
def admin_client(client: Client, superuser: User) -> Client:
    """A client signed in as the superuser."""
    client.force_login(superuser)
    return client


@pytest.fixture
def redis_away(settings: Settings) -> None:
    """Point the cache at a port where nothing listens."""
    settings.CACHES = {
        "default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}
    }

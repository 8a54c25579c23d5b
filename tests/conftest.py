"""What every test has: the real PostgreSQL, and a corner of the real Redis of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.db import connections
from django.test import Client
from pytest_django import Settings

from accounts.models import User


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits for seconds: at the end nothing would be left to do beside it."""
    items.sort(key=lambda item: item.get_closest_marker("waits") is None)


@pytest.fixture(autouse=True)
def own_cache(settings: Settings, worker_id: str) -> Iterator[None]:
    """Prefix the keys, so that neither other workers nor a running site are met; clean up."""
    prefix = f"test-{os.getpid()}-{worker_id}"
    settings.CACHES = {"default": settings.CACHES["default"] | {"KEY_PREFIX": prefix}}
    yield
    cache.delete_pattern("*")  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def quick_passwords(settings: Settings) -> None:
    """Hash new passwords with what takes no time; what is in a fixture is still understood."""
    quick = "django.contrib.auth.hashers.MD5PasswordHasher"
    settings.PASSWORD_HASHERS = [quick, *settings.PASSWORD_HASHERS]


@pytest.fixture(scope="session", autouse=True)
def close_pools() -> Iterator[None]:
    """Close the connection pools, whose threads would outlive the tests."""
    yield
    for connection in connections.all(initialized_only=True):
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]


@pytest.fixture
def superuser(db: None) -> User:
    """A user who may do everything in the admin."""
    return User.objects.create_superuser("Super@Example.com", "correct horse")


@pytest.fixture
def admin_client(client: Client, superuser: User) -> Client:
    """A client signed in as the superuser."""
    client.force_login(superuser)
    return client


@pytest.fixture
def redis_away(settings: Settings) -> None:
    """Point the cache at a port where nothing listens, as when Redis has died."""
    settings.CACHES = {
        "default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}
    }

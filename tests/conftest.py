"""Fixtures of all tests: the real PostgreSQL, and the real Redis under keys of their own."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.core.cache import cache
from django.db import connections
from django.test import Client
from pytest_django import Settings
from zeal.apps import ZealConfig

from accounts.models import User
from backends.database import connected_as_owner
from tests.forked import refuse_public_sockets

sys.addaudithook(refuse_public_sockets)
# Django calls ready() again for a test that changes INSTALLED_APPS, and each call would make zeal
# count every query once more.
ZealConfig.ready = lambda _self: None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow-waiting tests first, so that other tests run while they wait."""
    items.sort(key=lambda item: item.get_closest_marker("waits") is None)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> None:
    """Let the owner create and migrate the test database. The tests use web's role."""
    database: Any = connections["default"]
    url = urlsplit(django_settings.ENV.DATABASE_OWNER_URL or "")
    url = url._replace(path=f"/{database.creation._get_test_db_name()}")
    django_settings.ENV = dataclasses.replace(django_settings.ENV, DATABASE_OWNER_URL=url.geturl())
    with connected_as_owner("default", django_settings.ENV) as owner:
        database._nodb_cursor = owner._nodb_cursor


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

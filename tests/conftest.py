"""Fixtures of all tests: the real PostgreSQL, and the real Redis under keys of their own."""

from __future__ import annotations

import dataclasses
import fcntl
import gc
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.db import connection, connections
from django.test import Client, TransactionTestCase
from pytest_django import DjangoDbBlocker, Settings
from zeal.apps import ZealConfig

from accounts.models import User
from backends.database import connected_as_owner
from tests.forked import refuse_public_sockets

sys.addaudithook(refuse_public_sockets)
# Django calls ready() again for a test that changes INSTALLED_APPS, and each call would make zeal
# count every query once more.
ZealConfig.ready = lambda _self: None
# Importing the tests creates many objects and no garbage.
gc.disable()
# The database that one worker migrates and the others copy.
TEMPLATE = f"test_{connection.settings_dict['NAME']}_template"

# PostgreSQL itself ends its other processes, such as autovacuum.
END_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = %s AND backend_type = 'client backend'
"""


def pytest_collection_finish() -> None:
    """Keep the garbage collector from scanning all imported packages again and again."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the tests that mostly wait over the first two thirds of the others.

    So the processor is busy while they wait. The very first tests need no database: one worker
    migrates it while the others run them.
    """
    waiting = [item for item in items if item.get_closest_marker("waits")]
    others = [item for item in items if not item.get_closest_marker("waits")]
    others.sort(key=lambda item: item.get_closest_marker("django_db") is not None)
    place = {item: index / len(others) for index, item in enumerate(others)}
    place |= {item: 0.66 * index / len(waiting) for index, item in enumerate(waiting)}
    items.sort(key=place.__getitem__)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Drop the template after all workers have ended."""
    if config.getoption("numprocesses"):
        url = django_settings.ENV.DATABASE_OWNER_URL or django_settings.ENV.DATABASE_URL or ""
        with psycopg.connect(url, dbname="postgres", autocommit=True) as owner:
            owner.execute(f'DROP DATABASE IF EXISTS "{TEMPLATE}"')


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    worker_id: str,
) -> None:
    """Let the owner create and migrate the test database. The tests use web's role."""
    database: Any = connections["default"]
    with connected_as_owner("default", django_settings.ENV) as owner:
        database._nodb_cursor = owner._nodb_cursor
    own = database.creation._get_test_db_name()
    if worker_id != "master":
        # All workers of a run share this folder.
        migrated = tmp_path_factory.getbasetemp().parent / "migrated"
        with migrated.with_suffix(".lock").open("w") as lock, django_db_blocker.unblock():
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not migrated.exists():
                before = database.settings_dict["NAME"]
                name_test_database(TEMPLATE)
                database.creation.create_test_db(verbosity=0, autoclobber=True)
                # PostgreSQL copies only databases without connections.
                database.close()
                database.close_pool()
                database.settings_dict["NAME"] = before
                migrated.touch()
        database.settings_dict["TEST"] |= {"TEMPLATE": TEMPLATE, "MIGRATE": False}
    name_test_database(own)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """End all sessions before the test database is dropped.

    PostgreSQL keeps the session of a killed program until it has finished its statement, and drops
    no database that has one.
    """
    yield
    database: Any = connections["default"]
    database.close()
    database.close_pool()
    with django_db_blocker.unblock(), database._nodb_cursor() as cursor:
        cursor.execute(END_SESSIONS, [database.settings_dict["NAME"]])


def name_test_database(name: str) -> None:
    """Give the test database a name, also in the owner's URL."""
    connections["default"].settings_dict["TEST"]["NAME"] = name
    url = urlsplit(django_settings.ENV.DATABASE_OWNER_URL or "")._replace(path=f"/{name}")
    django_settings.ENV = dataclasses.replace(django_settings.ENV, DATABASE_OWNER_URL=url.geturl())


def empty_tables(_test: object) -> None:
    """Delete all rows but those that migrate writes, after a test with transaction=True.

    Django's flush takes 0.1 to 1 s: TRUNCATE creates the files of every table and index again, and
    then the rows of migrate are written again.
    """
    written_by_migrate = {ContentType._meta.db_table, Permission._meta.db_table}
    tables = set(connection.introspection.django_table_names()) - written_by_migrate
    with connection.cursor() as cursor:
        cursor.execute("; ".join(f'DELETE FROM "{table}"' for table in tables))


TransactionTestCase._fixture_teardown = empty_tables  # type: ignore[attr-defined]


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
    for database in connections.all(initialized_only=True):
        database.close()
        database.close_pool()  # type: ignore[attr-defined]


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

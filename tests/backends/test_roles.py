"""What web's role may do in the database, and what only the owner may."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection

from accounts.models import User
from backends.apps import check_role
from backends.database import connected_as_owner, warn_about_server

pytestmark = pytest.mark.django_db

REFUSED: dict[str, LiteralString] = {
    "create a table": "CREATE TABLE stray (id integer)",
    "create a schema": "CREATE SCHEMA stray",
    "create an extension": "CREATE EXTENSION hstore",
    "create a database": "CREATE DATABASE stray",
    "create a role": "CREATE ROLE stray",
    "alter a table": "ALTER TABLE accounts_user ADD COLUMN stray integer",
    "truncate a table": "TRUNCATE accounts_user CASCADE",
    "drop a table": "DROP TABLE accounts_user CASCADE",
    "read the password hashes of roles": "SELECT rolpassword FROM pg_authid",
    "become the owner": "SET ROLE methodhub_owner",
}


@pytest.fixture
def session() -> Iterator[psycopg.Connection]:
    """A session of web's role, outside a transaction, which CREATE DATABASE would refuse first."""
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as made:
        yield made


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED)
def test_web_role_is_refused(session: psycopg.Connection, statement: LiteralString) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(statement)


def test_web_role_creates_no_temporary_table() -> None:
    """In the app's database. Django creates the tests' databases, where every role may."""
    with (
        psycopg.connect(django_settings.ENV.DATABASE_URL or "") as session,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        session.execute("CREATE TEMPORARY TABLE stray (id integer)")


@pytest.mark.django_db(transaction=True)
def test_flush_works_although_the_web_role_may_not_truncate() -> None:
    User.objects.create_user("ada@example.com")
    call_command("flush", interactive=False, verbosity=0)
    assert not User.objects.exists()


def test_one_role_for_everything_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert check_role(databases=["default"]) == []
    with (
        connected_as_owner("default", django_settings.ENV),
        caplog.at_level(logging.WARNING, "backends.database"),
    ):
        (warning,) = check_role(databases=["default"])
        warn_about_server(django_settings.ENV)
    assert warning.id == "backends.W001"
    assert "so the site could drop them" in warning.msg
    assert "docs/database.md" in str(warning.hint)
    assert "web's database role owns the tables" in caplog.text


def test_tests_and_owner_use_different_roles(session: psycopg.Connection) -> None:
    with connected_as_owner("default", django_settings.ENV) as owner, owner.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == ("methodhub_owner",)
    assert session.execute("SELECT current_user").fetchone() == ("methodhub",)
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == ("methodhub",)

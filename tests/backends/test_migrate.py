"""The migrate command, while others use the database."""

from __future__ import annotations

import dataclasses
import io
import re
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections
from django.test import Client, override_settings
from pytest_django import Settings

from accounts.models import User
from backends.database import IDLE_IN_TRANSACTION_TIMEOUT
from backends.management.commands import migrate
from tests.backends.conftest import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


class Migrate(threading.Thread):
    """Runs the command in a thread."""

    def __init__(self, *arguments: str) -> None:
        super().__init__()
        self.output = io.StringIO()
        self.error: Exception | None = None
        self._arguments = arguments
        self.start()

    def run(self) -> None:
        try:
            call_command("migrate", *self._arguments, stdout=self.output)
        except Exception as error:  # noqa: BLE001, RUF100 - the test checks it
            self.error = error
        finally:
            connections.close_all()


@pytest.fixture
def altering(settings: Settings) -> Iterator[None]:
    """An app whose migrations alter the table of users. None is applied yet."""
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "tests.backends.altering"]):
        yield
        call_command("migrate", "altering", "zero", verbosity=0)


@pytest.fixture
def session() -> Iterator[psycopg.Connection]:
    """A database session of another program."""
    parameters = connection.get_connection_params() | {"application_name": "reporting"}
    with psycopg.connect(**parameters) as made:
        yield made


def has_column() -> bool:
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, "accounts_user")
    return "altered" in {column.name for column in columns}


@pytest.mark.usefixtures("altering")
def test_new_table_is_usable_at_once() -> None:
    call_command("migrate", "altering", "0001", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO altering_added (name) VALUES ('a'), ('b')")
        cursor.execute("UPDATE altering_added SET name = 'c' WHERE name = 'b'")
        cursor.execute("DELETE FROM altering_added WHERE name = 'a'")
        cursor.execute("SELECT id, name FROM altering_added")
        assert cursor.fetchall() == [(2, "c")]
        # loaddata sets sequences.
        cursor.execute("SELECT setval('altering_added_id_seq', 10)")


@pytest.mark.usefixtures("altering")
def test_migrate_without_the_owner_names_the_remedy(settings: Settings) -> None:
    settings.ENV = dataclasses.replace(settings.ENV, DATABASE_OWNER_URL=None)
    with pytest.raises(CommandError, match="Set DATABASE_OWNER_URL to the role that owns"):
        call_command("migrate", "altering", "0001", verbosity=0)
    assert not has_column()


@pytest.mark.waits
@pytest.mark.usefixtures("altering")
def test_pages_are_answered_while_a_migration_waits_for_a_table(
    session: psycopg.Connection, superuser: User
) -> None:
    client = Client()
    client.force_login(superuser)
    session.execute("SELECT count(*) FROM accounts_user")
    running = Migrate("altering", "0001")
    while "attempt 2" not in running.output.getvalue():
        # A page may wait behind the migration, but is answered.
        assert client.get("/admin/").status_code == 200
        time.sleep(0.05)
    assert not has_column()
    session.rollback()
    running.join()
    assert running.error is None
    assert has_column()


@pytest.mark.usefixtures("altering")
def test_migration_blocked_by_a_table_lock_names_the_sessions(
    session: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_ATTEMPTS", 1)
    session.execute("SELECT count(*) FROM accounts_user")
    with psycopg.connect(session.info.dsn, password=session.info.password) as other:
        other.execute("SELECT count(*) FROM accounts_user")
        running = Migrate("altering", "0001")
        running.join()
    assert isinstance(running.error, CommandError)
    assert "could not lock a table and was rolled back" in str(running.error)
    assert running.output.getvalue().count("A table is locked (attempt 1 of 1)") == 1
    assert "attempt 2" not in running.output.getvalue()
    # One line for each session.
    assert len(re.findall(r"^  pid \d+ \(reporting\)", str(running.error), re.MULTILINE)) == 2
    assert f"pid {session.info.backend_pid} (reporting), transaction open for 00:0" in str(
        running.error
    )
    assert "SELECT count(*) FROM accounts_user" in str(running.error)
    assert not has_column()


def test_attempts_outlast_an_idle_transaction_and_requests_outlast_an_attempt() -> None:
    pauses = (migrate.LOCK_ATTEMPTS - 1) * migrate.LOCK_RETRY_PAUSE
    assert (
        migrate.LOCK_ATTEMPTS * migrate.LOCK_TIMEOUT + pauses > IDLE_IN_TRANSACTION_TIMEOUT / 1000
    )
    env = django_settings.ENV
    assert migrate.LOCK_TIMEOUT < env.DATABASE_POOL_TIMEOUT
    assert migrate.LOCK_TIMEOUT < env.DATABASE_STATEMENT_TIMEOUT / 1000


@pytest.mark.waits
@pytest.mark.usefixtures("altering")
def test_migration_may_take_longer_than_a_request() -> None:
    call_command("migrate", "altering", "0002", verbosity=0)


@pytest.mark.waits
@pytest.mark.usefixtures("altering")
def test_waiting_migrate_does_not_block_an_index_made_concurrently() -> None:
    runs = [Migrate("altering", "0003"), Migrate("altering", "0003")]
    for running in runs:
        running.join()
    assert [running.error for running in runs] == [None, None]
    waited = ["Another migrate is running" in running.output.getvalue() for running in runs]
    assert sorted(waited) == [False, True]


@pytest.mark.usefixtures("altering")
def test_failing_migration_fails_with_postgresqls_error() -> None:
    with pytest.raises(OperationalError, match="canceling statement due to statement timeout"):
        call_command("migrate", "altering", "0004", verbosity=0)


def test_second_migrate_waits_for_the_first(session: psycopg.Connection) -> None:
    session.execute("SELECT pg_advisory_xact_lock(%s)", [migrate.ADVISORY_LOCK])
    running = Migrate()
    wait_for(lambda: "Another migrate is running" in running.output.getvalue(), 5)
    running.join(1)
    assert running.is_alive()
    session.rollback()
    running.join(20)
    assert running.error is None
    assert "No migrations to apply" in running.output.getvalue()

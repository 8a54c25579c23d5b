"""Django's migrate, safe to run several times at once and while the site serves requests."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, Self, cast

import psycopg
from django.conf import settings
from django.core.checks import Tags
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands.migrate import Command as MigrateCommand
from django.db import DatabaseError, OperationalError, connections
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.postgresql.schema import DatabaseSchemaEditor

from backends.database import TimeoutConnection, connected_as_owner, set_role_limits

# Any number, as long as every release uses the same: "migrate" in ASCII, 56 bits.
ADVISORY_LOCK = int.from_bytes(b"migrate")
# Seconds between attempts to take the advisory lock.
ADVISORY_LOCK_INTERVAL = 0.5
# Seconds that a migration waits for a table's lock. Every later reader of the table waits behind
# it, so this is shorter than DATABASE_POOL_TIMEOUT and DATABASE_STATEMENT_TIMEOUT.
LOCK_TIMEOUT = 1.0
# Ten attempts take longer than a request's transaction may be idle (backends/database.py).
LOCK_ATTEMPTS = 10
LOCK_RETRY_PAUSE = 3.0

BLOCKERS = """
    SELECT format('pid %%s (%%s), transaction open for %%s, last query started at %%s: %%s',
        pid, application_name, date_trunc('second', clock_timestamp() - xact_start),
        date_trunc('second', query_start), left(query, 200))
    FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(%s))
"""


def is_refused(error: BaseException | None) -> bool:
    """Return whether PostgreSQL refused a statement to the role."""
    while error and not isinstance(error, psycopg.errors.InsufficientPrivilege):
        error = error.__cause__ or error.__context__
    return error is not None


class SchemaEditor(DatabaseSchemaEditor):
    """Django's schema editor, with a lock timeout for migrations that are transactions.

    Other migrations (``atomic = False``) wait without a limit: a timeout would leave them half
    applied, so they could not be tried again.
    """

    # Process number of the PostgreSQL backend, once a migration has begun.
    backend_pid: int | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        if self.atomic_migration:
            with self.connection.cursor() as cursor:
                # For this transaction only: a pooler gives the connection to others afterwards.
                cursor.execute(
                    "SELECT pg_backend_pid(), set_config('lock_timeout', %s, true), "
                    "set_config('statement_timeout', '0', true), "
                    "set_config('idle_in_transaction_session_timeout', '0', true)",
                    [f"{LOCK_TIMEOUT}s"],
                )
                type(self).backend_pid = cursor.fetchone()[0]
        return self


class Command(MigrateCommand):
    """Apply migrations as the owner, one process at a time, without blocking the site.

    A second process waits for the first, finds nothing left to do, and exits 0. The advisory lock
    belongs to a transaction on a separate connection. It is released when the process is killed,
    and a transaction pooler keeps it.
    """

    # The checks of the schema. The others load the URLconf, and so all views.
    requires_system_checks = (Tags.models, Tags.database)

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --ensure-superuser, which saves `make up` the start of another process."""
        super().add_arguments(parser)
        parser.add_argument(
            "--ensure-superuser", action="store_true", help="run ensure_superuser afterwards"
        )

    def handle(self, *args: Any, **options: Any) -> str | None:
        """Migrate. Raises CommandError if PostgreSQL is away or a table stays locked."""
        alias = options["database"]
        requests = cast(DatabaseWrapper, connections[alias])
        ensure_superuser = options.pop("ensure_superuser", False)
        try:
            with (
                connected_as_owner(alias, settings.ENV) as database,
                TimeoutConnection.connect(**database.get_connection_params()) as lock,
            ):
                self._wait_for_other_migrate(lock)
                set_role_limits(requests, settings.ENV)
                result = self._migrate(database, lock, *args, **options)
                if ensure_superuser:
                    call_command("ensure_superuser", stdout=self.stdout)
                return result
        except psycopg.OperationalError as error:
            raise CommandError(f"PostgreSQL cannot be reached: {error}") from error
        except DatabaseError as error:
            if not is_refused(error):
                raise
            raise CommandError(
                f"The role {database.settings_dict['USER']} may not migrate: {error}\n"
                "Set DATABASE_OWNER_URL to the role that owns the tables; see docs/database.md."
            ) from error

    def _wait_for_other_migrate(self, lock: psycopg.Connection[Any]) -> None:
        """Take the advisory lock in a transaction of the given connection.

        It polls: a waiting statement would block the other process's CREATE INDEX CONCURRENTLY.
        """
        take_lock = (
            "SELECT set_config('idle_in_transaction_session_timeout', '0', true), "
            "pg_try_advisory_xact_lock(%s)"
        )
        announced = False
        while not lock.execute(take_lock, [ADVISORY_LOCK]).fetchall()[0][1]:
            lock.rollback()
            if not announced:
                self.stdout.write("Another migrate is running; waiting for it.")
                announced = True
            time.sleep(ADVISORY_LOCK_INTERVAL)

    def _migrate(
        self,
        database: DatabaseWrapper,
        lock: psycopg.Connection[Any],
        /,
        *args: Any,
        **options: Any,
    ) -> str | None:
        """Run Django's migrate, and retry while a table is locked."""
        database.SchemaEditorClass = SchemaEditor
        try:
            for attempt in range(1, LOCK_ATTEMPTS + 1):
                with BlockerWatch(lock) as watch:
                    try:
                        return super().handle(*args, **options)
                    except OperationalError as error:
                        if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                            raise
                self.stdout.write(
                    f"\nA table is locked (attempt {attempt} of {LOCK_ATTEMPTS}):\n{watch.blockers}"
                )
                if attempt < LOCK_ATTEMPTS:
                    time.sleep(LOCK_RETRY_PAUSE)
        finally:
            del database.SchemaEditorClass
        raise CommandError(
            "A migration could not lock a table and was rolled back; earlier ones are applied. End "
            f"the sessions that block it, then run migrate again:\n{watch.blockers}"
        )


class BlockerWatch(threading.Thread):
    """Records which sessions block the schema editor, by queries on the given connection."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__(daemon=True)
        self.blockers = "  unknown"
        self._connection = connection
        self._stop_event = threading.Event()

    def __enter__(self) -> Self:
        SchemaEditor.backend_pid = None
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop_event.set()
        self.join()

    def run(self) -> None:
        with contextlib.suppress(psycopg.OperationalError):
            self._watch()

    def _watch(self) -> None:
        while not self._stop_event.wait(LOCK_TIMEOUT / 4):
            if SchemaEditor.backend_pid:
                # Otherwise PostgreSQL repeats its first answer until the transaction ends.
                self._connection.execute("SELECT pg_stat_clear_snapshot()")
                found = self._connection.execute(BLOCKERS, [SchemaEditor.backend_pid]).fetchall()
                if found:
                    self.blockers = "\n".join(f"  {line}" for (line,) in found)

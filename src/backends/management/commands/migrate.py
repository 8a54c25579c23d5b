"""Django's migrate, safe when several run at once."""

from typing import Any

import psycopg
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands.migrate import Command as MigrateCommand
from django.db import connections

# Any number will do, as long as every release takes the same: "migrate" in ASCII, 56 bits.
ADVISORY_LOCK = int.from_bytes(b"migrate")


class Command(MigrateCommand):
    """Apply migrations under a PostgreSQL advisory lock.

    Whoever comes second waits, finds nothing left to do and exits 0. The lock has a connection of
    its own, since migrate closes Django's now and then, and goes when that connection does: a
    killed process leaves none behind.
    """

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --ensure-superuser, which saves `make up` the start of another process."""
        super().add_arguments(parser)
        parser.add_argument(
            "--ensure-superuser", action="store_true", help="run ensure_superuser afterwards"
        )

    def handle(self, *args: Any, **options: Any) -> str | None:
        """Take the lock, migrate, release it.

        Raises CommandError when PostgreSQL cannot be reached.
        """
        connection = connections[options["database"]]
        try:
            with psycopg.connect(**connection.get_connection_params(), autocommit=True) as lock:
                cursor = lock.execute("SELECT pg_try_advisory_lock(%s)", [ADVISORY_LOCK])
                if cursor.fetchone() != (True,):
                    self.stdout.write("Another migrate is running; waiting for it.")
                    lock.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
                ensure_superuser = options.pop("ensure_superuser", False)
                said = super().handle(*args, **options)
                if ensure_superuser:
                    call_command("ensure_superuser", stdout=self.stdout)
                return said
        except psycopg.OperationalError as error:
            raise CommandError(f"PostgreSQL cannot be reached: {error}") from error

"""Django's migrate, safe when several run at once."""

from typing import Any

import psycopg
from django.core.management.base import CommandError
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
                return super().handle(*args, **options)
        except psycopg.OperationalError as error:
            raise CommandError(f"PostgreSQL cannot be reached: {error}") from error

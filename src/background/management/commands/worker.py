"""The worker process: one more process type of the same image (twelve-factor VIII)."""

import logging
import signal
import sys
import time
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import OperationalError, connection
from django_ox.management.commands.ox_worker import Command as OxWorkerCommand

from backends.connection_errors import postgres_problem
from background.models import UniqueKey

logger = logging.getLogger(__name__)

# Seconds between polls, which find tasks without a notification, such as retries that are due.
POLL_INTERVAL = 0.5


class Command(OxWorkerCommand):
    """django-ox's ox_worker, with this project's defaults."""

    help = "Run background tasks until SIGTERM, which lets the tasks in hand finish."
    # As in web's processes. The checks load the URLconf, and so all views: 9 MB.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(concurrency=settings.ENV.TASK_CONCURRENCY, interval=POLL_INTERVAL)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker; each of its threads keeps one connection, without a pool."""
        connection.settings_dict["CONN_MAX_AGE"] = None
        # In effect until django-ox installs handlers that let the tasks in hand finish.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        self.wait_for_migrate()
        super().handle(*args, **options)

    def wait_for_migrate(self) -> None:
        """Wait until the tables of the tasks exist: `make up` migrates after it starts the worker.

        Until then there is no heartbeat file, so the container does not count as healthy.
        """
        logged = None
        while reason := reason_to_wait():
            if reason != logged:
                logger.info("Waiting for PostgreSQL and migrate.", extra={"reason": reason})
            logged = reason
            time.sleep(0.2)


def reason_to_wait() -> str:
    """Return why the tasks' tables cannot be used, or an empty string if they can."""
    try:
        tables = connection.introspection.table_names()
    except OperationalError as error:
        return postgres_problem(error, connection.get_connection_params())
    finally:
        connection.close()
    return "" if UniqueKey._meta.db_table in tables else "The database is not migrated."

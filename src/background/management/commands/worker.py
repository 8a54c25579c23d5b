"""The worker process: one more process type of the same image (twelve-factor VIII)."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import connections
from django_ox.management.commands.ox_worker import Command as OxWorkerCommand

# Seconds between looks at the queue while nothing notifies, as for retries that fall due.
POLL_INTERVAL = 0.5


class Command(OxWorkerCommand):
    """django-ox's ox_worker, with this project's defaults."""

    help = "Run background tasks until SIGTERM, which lets the tasks in hand finish."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(concurrency=settings.ENV.TASK_CONCURRENCY, interval=POLL_INTERVAL)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker; each of its threads keeps one connection, without a pool."""
        connections["default"].settings_dict["CONN_MAX_AGE"] = None
        super().handle(*args, **options)

"""The worker of the dev target, which starts again when the code changes."""

import os
import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from watchfiles import PythonFilter, watch

from background.management.commands.worker import Command as WorkerCommand
from development.supervisor import reload_if_changed, sources_changed


class Command(WorkerCommand):
    """The worker with --reload, run by the supervisor (see manage.py)."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reload", action="store_true", help="start again when src/ changes")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker; after a change, exit so that the supervisor starts it again."""
        if options.pop("reload"):
            threading.Thread(target=self.stop_on_change, daemon=True).start()
        try:
            super().handle(*args, **options)
        finally:
            reload_if_changed()

    def stop_on_change(self) -> None:
        """When a file changes, stop as at SIGTERM: the tasks in hand finish first."""
        changes = watch(settings.SRC, watch_filter=PythonFilter(), yield_on_timeout=True)
        for _ in changes:  # pragma: no branch - there is no last change
            # Checked every five seconds too: a file may be saved while the code is loaded.
            if sources_changed():
                # Only once: a second signal would kill the tasks in hand.
                os.kill(os.getpid(), signal.SIGTERM)
                return

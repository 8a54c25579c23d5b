"""django-ox's worker, woken by PostgreSQL as soon as a task is committed."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import psycopg
from django.db import connections
from django_ox.models import OxTask
from django_ox.worker import Worker as OxWorker
from structlog.contextvars import bound_contextvars

from backends.database import TimeoutConnection
from background.backend import REQUEST_ID

logger = logging.getLogger(__name__)

# The channel that the trigger of migration 0001 notifies.
CHANNEL = "background_task"
# Seconds between attempts to listen while PostgreSQL is away.
RECONNECT_INTERVAL = 1.0
# Seconds between log lines about failed polls. django-ox would log each one.
POLL_FAILURE_LOG_INTERVAL = 60.0


class WakeableStop(threading.Event):
    """The stop event that the worker's loop waits on, whose wait also ends at a notification."""

    def __init__(self) -> None:
        super().__init__()
        self._wake = threading.Event()

    def set(self) -> None:
        super().set()
        self._wake.set()

    def wake(self) -> None:
        """End the current wait, or the next one if no thread waits."""
        self._wake.set()

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._wake.wait(timeout)
            self._wake.clear()
        return self.is_set()


class PollFailureFilter(logging.Filter):
    """Reduces django-ox's lines about failed polls to one a minute, with the error's text only."""

    def __init__(self) -> None:
        super().__init__()
        self._silent_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "event", "") != "worker_poll_failed":
            return True
        if record.exc_info:
            record.error = str(record.exc_info[1]).strip()
            record.exc_info = None
        now = time.monotonic()
        if now < self._silent_until:
            return False
        self._silent_until = now + POLL_FAILURE_LOG_INTERVAL
        return True


class Worker(OxWorker):
    """django-ox's worker, which also listens for new tasks and logs their requests' ids.

    While the connection that listens is down, it finds tasks by polling, as django-ox does.
    """

    _stop: WakeableStop

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # The loop's idle wait is `self._stop.wait(poll_interval)`.
        self._stop = WakeableStop()

    def run(self) -> None:
        """Run tasks until request_stop()."""
        logging.getLogger("django_ox").addFilter(PollFailureFilter())
        # A daemon, so that a worker that stops does not wait for it.
        threading.Thread(target=self.listen, name="listen", daemon=True).start()
        super().run()

    def listen(self) -> None:
        """Wake the loop at each notification; connect again whenever the connection is lost."""
        listening = True
        while not self.stopping:  # pragma: no branch - the process exits before this thread
            try:
                with TimeoutConnection.connect(
                    **self.listen_parameters(), autocommit=True
                ) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    listening = True
                    # Tasks may have been added before this connection listened.
                    self._stop.wake()
                    for _ in connection.notifies():
                        self._stop.wake()
            except psycopg.Error as error:
                if listening:  # pragma: no branch - tests of the stack stop PostgreSQL
                    logger.warning("Polling for tasks, since LISTEN failed: %s", error)
                listening = False
                time.sleep(RECONNECT_INTERVAL)

    def listen_parameters(self) -> dict[str, Any]:
        """Return the parameters of the connection that listens.

        TCP keepalives notice a server that vanished, since this connection sends nothing.
        """
        return connections["default"].get_connection_params() | {
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        }

    def execute(self, db_task: OxTask, *, inline: bool = False) -> None:
        """Run a claimed task; each line that it logs has its id, its name and its request's id."""
        context = {"task_id": str(db_task.pk), "task_path": db_task.task_path}
        request_id = db_task.kwargs.pop(REQUEST_ID, None)
        if request_id:
            context["request_id"] = request_id
        with bound_contextvars(**context):
            super().execute(db_task, inline=inline)

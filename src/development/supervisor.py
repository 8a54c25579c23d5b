"""Keeps runserver alive through code that does not even import, and its reloads short.

Django's own reloader gives up for good when the settings cannot be imported, and watches the
wrong file for some errors further on. Here the process that serves ends at any such error, and
the one above it starts it anew at the next change under src/.
"""

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import django

SRC = Path(__file__).resolve().parent.parent
# Exit statuses of the process that serves. The first is Django's own.
RELOAD = 3
BROKEN_CODE = 4
# Imported once, here, and not again at every reload: the slowest of what reads no settings.
PRELOADED = (
    "django.contrib.admin.options",
    "django.contrib.staticfiles.storage",
    "django.core.management.commands.migrate",
    "django.db.backends.postgresql.base",
    "django.template.defaulttags",
    "django.test",
    "django_redis.cache",
    "environs",
    "psycopg_pool",
    "redis.asyncio",
    "structlog",
    "uvicorn.server",
)

# The sources as they were when the process that serves was started.
_loaded: dict[Path, int] = {}


def supervise(main: Callable[[], None]) -> NoReturn:
    """Run ``main`` in a child process, and anew for as long as it ends for the code's sake.

    Whatever else ends the child ends this process with the same status: a wrong argument, a port
    that is taken, and an environment that was broken from the start.
    """
    for name in PRELOADED:
        with suppress(ImportError):
            import_module(name)
    # The collector would go over all that again in every child.
    gc.freeze()
    waits_for_code = {BROKEN_CODE}
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: sys.exit(0))
    while True:
        _loaded.clear()
        _loaded.update(sources())
        child = os.fork()
        if child == 0:
            _serve(main)
        status = _wait(child)
        if status in waits_for_code:
            print("Waiting for a change under src/ to start again.", file=sys.stderr)
            # Not by file events: what was saved while the child was failing counts as well.
            while sources() == _loaded:
                time.sleep(0.2)
        elif status != RELOAD:
            sys.exit(status)
        # It did start in this environment: if that is refused now, the code changed its mind.
        waits_for_code.add(os.EX_CONFIG)


def reload_if_changed() -> None:
    """End the process that serves for a reload when its sources are no longer what it loaded."""
    if _loaded and sources() != _loaded:
        os._exit(RELOAD)


def sources() -> dict[Path, int]:
    """Return all modules under src/, with the times of their last changes."""
    times = {}
    for path in SRC.rglob("*.py"):
        with suppress(FileNotFoundError):  # an editor's temporary file
            times[path] = path.stat().st_mtime_ns
    return times


def _serve(main: Callable[[], None]) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # Django would go on without any app, and wait for the file that it holds guilty.
        django.setup()
        main()
    except Exception:  # noqa: BLE001 - whatever it is, the next change may mend it
        traceback.print_exc()
        sys.exit(BROKEN_CODE)
    sys.exit(0)


def _wait(child: int) -> int:
    """Return the child's exit status; take the child along when this process is stopped."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except SystemExit:
        os.kill(child, signal.SIGKILL)
        raise

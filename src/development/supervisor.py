"""Restart runserver and the worker when the code changes, even after an error in the code.

Django's own reloader exits when the settings cannot be imported, and for some other errors it
watches the wrong file. Here the child process exits on any error in the code, and its parent
process, which imports no project code, starts it again after the next change under src/.
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
# Exit statuses of the child process. The first one is Django's own.
RELOAD = 3
BROKEN_CODE = 4
# The slowest imports among the packages that read no settings. The parent process imports them
# once, so that a reload need not.
PRELOADED = [
    "django.contrib.admin.options",
    "django.contrib.staticfiles.storage",
    "django.core.management.commands.migrate",
    "django.db.backends.postgresql.base",
    "django.template.defaulttags",
    "django.test",
    "django_ox.backend",
    "django_ox.schedules",
    "django_redis.cache",
    "environs",
    "jwcrypto.jwt",
    "psycopg_pool",
    "redis.asyncio",
    "structlog",
    "watchfiles",
]
# The same, of the web process only.
PRELOADED_BY_WEB = ["mcp.server.mcpserver", "oauthlib.openid", "requests", "uvicorn.server"]

# The modification times of the sources when the child process was started.
_loaded: dict[Path, int] = {}


def supervise(main: Callable[[], None]) -> NoReturn:
    """Run ``main`` in a child process, and restart it when the code changes.

    If the child exits for a reason that no change of the code can fix, this process exits with the
    same status: a wrong argument, a port in use, or an environment that was invalid at the start.
    """
    # Imports leave no garbage.
    gc.disable()
    for name in PRELOADED + (PRELOADED_BY_WEB if "runserver" in sys.argv else []):
        with suppress(ImportError):
            import_module(name)
    # Keeps the garbage collector of every child process from scanning all these modules.
    gc.freeze()
    gc.enable()
    waits_for_change = {BROKEN_CODE}
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: sys.exit(0))
    while True:
        _loaded.clear()
        _loaded.update(modification_times())
        # _serve never returns.
        child = os.fork() or _serve(main)
        status = _wait(child)
        if status in waits_for_change:
            print("Waiting for a change under src/ to start again.", file=sys.stderr)
            # Polled, since file events miss files that were saved before the child exited.
            while modification_times() == _loaded:
                time.sleep(0.2)
        elif status != RELOAD:
            sys.exit(status)
        # The process has started in this environment. If the environment is refused from now on,
        # the contract in the code has changed.
        waits_for_change.add(os.EX_CONFIG)


def sources_changed() -> bool:
    """Return whether the sources changed after this process was started."""
    return bool(_loaded) and modification_times() != _loaded


def reload_if_changed() -> None:
    """Exit the child process for a reload if its sources changed after it was started."""
    if sources_changed():
        os._exit(RELOAD)


def modification_times() -> dict[Path, int]:
    """Return the modification time, in nanoseconds, of each module under src/."""
    times = {}
    for path in SRC.rglob("*.py"):
        with suppress(FileNotFoundError):  # an editor's temporary file
            times[path] = path.stat().st_mtime_ns
    return times


def _serve(main: Callable[[], None]) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # Without this, Django's runserver would continue without apps after an import error.
        django.setup()
        main()
    except Exception:  # noqa: BLE001 - the next change may fix any error
        traceback.print_exc()
        sys.exit(BROKEN_CODE)
    sys.exit(0)  # pragma: no cover - both commands exit by themselves


def _wait(child: int) -> int:
    """Return the child's exit status; kill the child when this process is stopped."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except SystemExit:
        os.kill(child, signal.SIGKILL)
        raise

"""Django's runserver, serving the same ASGI application with the same server as the ecs target."""

import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any

import uvicorn
from django.conf import settings
from django.contrib.staticfiles.management.commands.runserver import Command as RunserverCommand
from django.core.management.base import SystemCheckError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import autoreload
from django.utils.module_loading import import_string

from development.supervisor import BROKEN_CODE, RELOAD, reload_if_changed

# Delay, in seconds, before warning about unapplied migrations. `make up` starts PostgreSQL and
# migrates at the same time as it starts this server.
MIGRATIONS_WARNING_DELAY = 5


class Server:
    """uvicorn with the interface of the WSGI server that Django's runserver expects."""

    def __init__(self, address: tuple[str, int], _handler_class: object, *, ipv6: bool = False):
        """Bind ``address``; raises OSError when it is in use."""
        self.socket = socket.create_server(
            address, family=socket.AF_INET6 if ipv6 else socket.AF_INET
        )
        self.server_port = self.socket.getsockname()[1]

    def set_app(self, application: Any) -> None:
        """Set the ASGI application to serve."""
        self.application = application

    def serve_forever(self) -> None:
        """Serve until SIGTERM or SIGINT, as docker/gunicorn.conf.py does in the ecs target."""
        # Otherwise every reload logs that uvicorn stopped and started, and which file changed.
        for name in ("uvicorn.error", "watchfiles"):
            logging.getLogger(name).setLevel(logging.WARNING)
        config = uvicorn.Config(
            self.application,
            log_config=None,
            ws="none",
            forwarded_allow_ips="",
            timeout_keep_alive=settings.ENV.KEEP_ALIVE,
            # Browsers keep django-browser-reload's event stream open.
            timeout_graceful_shutdown=1,
        )
        uvicorn.Server(config).run(sockets=[self.socket])


def get_reloader() -> autoreload.BaseReloader:
    """Return the reloader that watches src/, or Django's own without the dev tools."""
    if not settings.DEV_TOOLS:
        return autoreload.get_reloader()
    from development.tools import SourceReloader

    return SourceReloader()


class Command(RunserverCommand):
    """Serve ASGI with uvicorn, under Django's reloader."""

    server_cls = Server  # type: ignore[assignment] # it has what runserver uses of a WSGIServer
    addr: str
    _raw_ipv6: bool

    def get_handler(self, *args: Any, **options: Any) -> Any:
        """Return the ASGI application. Its WhiteNoise middleware serves the static files."""
        return import_string(settings.ASGI_APPLICATION)

    def run(self, **options: Any) -> None:
        """Serve, and exit without waiting for requests in progress."""
        try:
            if options["use_reloader"]:
                # Not autoreload.run_with_reloader, whose parent process the supervisor replaces.
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
                autoreload.start_django(get_reloader(), self.inner_run, **options)
            else:
                super().run(**options)
        except KeyboardInterrupt:
            os._exit(0)
        except SystemExit as error:
            # A normal exit would wait for the threads of requests in progress.
            status = error.code if isinstance(error.code, int) else 1
            # The code exits when it is imported, here if not in inner_run: both import the URLs.
            if options["use_reloader"] and status not in (0, RELOAD):  # pragma: no cover
                traceback.print_exc()
                status = BROKEN_CODE
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Run the checks and serve; on an error in the code, exit so that the supervisor waits."""
        try:
            super().inner_run(*args, **options)
        except (Exception, SystemExit) as error:
            if not options["use_reloader"]:
                raise
            if isinstance(error, SystemCheckError):
                self.stderr.write(str(error))
            else:
                traceback.print_exc()
            os._exit(BROKEN_CODE)

    def on_bind(self, server_port: int) -> None:
        """Print the server's version and its URL."""
        host = f"[{self.addr}]" if self._raw_ipv6 else self.addr
        url = settings.ENV.SITE_URL or f"{self.protocol}://{host}:{server_port}/"
        self.stdout.write(
            f"Django {self.get_version()} serves ASGI with uvicorn {uvicorn.__version__}: {url}\n"
            "For development only. Press CONTROL-C to stop."
        )
        timer = threading.Timer(1, self.check_after_start)
        timer.daemon = True
        timer.start()

    def check_after_start(self) -> None:
        """Run the checks that a reload need not wait for."""
        # The reloader does not notice files that were saved while the code was loading.
        reload_if_changed()
        deadline = time.monotonic() + MIGRATIONS_WARNING_DELAY
        while not self.are_migrations_applied():
            if time.monotonic() >= deadline:
                self.warn_about_migrations()
                return
            time.sleep(1)

    def are_migrations_applied(self) -> bool:
        """Return whether PostgreSQL answers and all migrations are applied."""
        try:
            executor = MigrationExecutor(connection)
            return not executor.migration_plan(executor.loader.graph.leaf_nodes())
        except OperationalError:
            return False
        finally:
            connection.close()

    def warn_about_migrations(self) -> None:
        """Print which migrations are unapplied, or that PostgreSQL cannot be reached."""
        try:
            super().check_migrations()
        except OperationalError as error:
            self.stderr.write(f"PostgreSQL cannot be reached to check the migrations: {error}")
        finally:
            connection.close()

    def check_migrations(self) -> None:
        """Do nothing: like the ecs target, serve before PostgreSQL answers (check_after_start)."""

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

from development.supervisor import BROKEN_CODE, reload_if_changed

# Seconds until what is not migrated is news: `make up` starts PostgreSQL and migrates beside this.
MIGRATE_PATIENCE = 5


class Server:
    """uvicorn, in the shape of the WSGI server that Django's runserver drives."""

    def __init__(self, address: tuple[str, int], _handler_class: object, *, ipv6: bool = False):
        """Bind ``address``; raises OSError when it cannot be had."""
        self.socket = socket.create_server(
            address, family=socket.AF_INET6 if ipv6 else socket.AF_INET
        )
        self.server_port = self.socket.getsockname()[1]

    def set_app(self, application: Any) -> None:
        """Take the ASGI application to serve."""
        self.application = application

    def serve_forever(self) -> None:
        """Serve until SIGTERM or SIGINT, as the ecs target does (docker/gunicorn.conf.py)."""
        # Start and stop of uvicorn, and what changed, are no news at every reload.
        for name in ("uvicorn.error", "watchfiles"):
            logging.getLogger(name).setLevel(logging.WARNING)
        config = uvicorn.Config(
            self.application,
            log_config=None,
            ws="none",
            forwarded_allow_ips="",
            timeout_keep_alive=settings.ENV.KEEP_ALIVE,
            # Browsers hold django-browser-reload's event stream open for ever.
            timeout_graceful_shutdown=1,
        )
        uvicorn.Server(config).run(sockets=[self.socket])


def reloader() -> autoreload.BaseReloader:
    """Return what watches the sources for changes."""
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
        """Return the ASGI application; WhiteNoise in it serves the static files."""
        return import_string(settings.ASGI_APPLICATION)

    def run(self, **options: Any) -> None:
        """Serve, and let nothing hold up a reload or a stop."""
        try:
            if options["use_reloader"]:
                # Without Django's own parent process: the supervisor is that.
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
                autoreload.start_django(reloader(), self.inner_run, **options)
            else:
                super().run(**options)
        except KeyboardInterrupt:
            os._exit(0)
        except SystemExit as error:
            # The interpreter's own exit would wait for the threads of requests under way.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(error.code if isinstance(error.code, int) else 1)

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Check and serve; an error in the code is for the supervisor to wait out."""
        try:
            super().inner_run(*args, **options)
        except (Exception, SystemExit) as error:
            if not options["use_reloader"]:
                raise
            if isinstance(error, SystemCheckError):
                self.stderr.write(str(error))
            elif not isinstance(error, SystemExit):
                traceback.print_exc()
            os._exit(BROKEN_CODE)

    def on_bind(self, server_port: int) -> None:
        """Say what serves, and where people find it."""
        host = f"[{self.addr}]" if self._raw_ipv6 else self.addr
        url = settings.ENV.SITE_URL or f"{self.protocol}://{host}:{server_port}/"
        self.stdout.write(
            f"Django {self.get_version()} serves ASGI with uvicorn {uvicorn.__version__}: {url}\n"
            "For development only. CONTROL-C stops it."
        )
        late = threading.Timer(1, self.look_again)
        late.daemon = True
        late.start()

    def look_again(self) -> None:
        """Do what a reload need not wait for, a second later."""
        # What was saved while the code was being loaded came too early for the watcher.
        reload_if_changed()
        patience = time.monotonic() + MIGRATE_PATIENCE
        while self.tell_of_migrations(final=time.monotonic() >= patience):
            time.sleep(1)

    def tell_of_migrations(self, *, final: bool) -> bool:
        """Say that migrations are missing, if this look is the final one; whether to look again."""
        try:
            executor = MigrationExecutor(connection)
            if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
                return False
            if final:
                super().check_migrations()
        except OperationalError as error:
            if final:
                self.stderr.write(
                    f"PostgreSQL cannot be reached, so that migrations are unknown: {error}"
                )
        finally:
            connection.close()
        return not final

    def check_migrations(self) -> None:
        """Serve first, also without PostgreSQL, as ecs does; see look_again."""

"""ASGI applications beside Django, by path prefix (settings.ASGI_MOUNTS)."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, cast

from asgiref.sync import ThreadSensitiveContext
from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    HTTPScope,
    Scope,
)
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.utils.module_loading import import_string

from serving.request_thread import SharedThreads

logger = logging.getLogger(__name__)

# Threads for the queries and synchronous functions of all mounted applications in one process.
THREADS = 8
_PREFIX = re.compile(r"(/[^/]+)+")


def load_or_exit(paths: Mapping[str, str]) -> dict[str, ASGI3Application]:
    """Import the applications of ASGI_MOUNTS.

    If one cannot be imported, prints a line for each and exits with status 78, like an invalid
    environment. With DEBUG on, errors in the module are raised: ``development.supervisor`` shows
    the traceback and waits for a change.
    """
    applications, problems = {}, []
    for prefix, path in paths.items():
        if not _PREFIX.fullmatch(prefix):
            problems.append(f"The prefix {prefix!r} does not have the form '/name'.")
            continue
        try:
            applications[prefix] = import_string(path)
        except Exception as error:
            if settings.DEBUG and not isinstance(error, ImportError):
                raise
            reason = _describe(error)
            problems.append(f"The application {path!r} at {prefix} cannot be imported: {reason}.")
    if problems:
        remedy = "Correct ASGI_MOUNTS in src/config/settings.py, or the module that it names.\n"
        sys.stderr.write("\n".join([*problems, remedy]))
        raise SystemExit(os.EX_CONFIG)
    return applications


def _describe(error: Exception) -> str:
    """Return an error that occurred during an import in one line, with its place in the code."""
    text = " ".join(str(error).split()).removesuffix(".")
    if isinstance(error, (ImportError, SyntaxError)):
        return text
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text} ({place.filename}, line {place.lineno})"


class Mounts:
    """ASGI middleware: passes paths below a prefix to their application, all others to Django.

    Django's middleware does not run for a mounted application. Requests that it would refuse, for
    their host or because they did not arrive over HTTPS, go to Django, which answers them.

    An application sees the prefix as its root path, the scheme that the client used, and "/" as the
    path below the prefix alone. Its lifespan runs in each worker, until the worker has drained.
    """

    def __init__(
        self, django: ASGI3Application, applications: Mapping[str, ASGI3Application]
    ) -> None:
        self.django = django
        # The longest prefix first.
        self.applications = dict(sorted(applications.items(), key=lambda each: -len(each[0])))
        self.lifespans = {prefix: _Lifespan(prefix, app) for prefix, app in applications.items()}
        self.threads = ThreadPoolExecutor(THREADS, "mount")

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Serve one request, or run the lifespans."""
        if scope["type"] == "lifespan":
            await self._run_lifespans(receive, send)
            return
        path = scope["path"]
        for prefix, application in self.applications.items():
            if path == prefix or path.startswith(f"{prefix}/"):
                if child := self._child_scope(cast("HTTPScope", scope), prefix):
                    # The thread-sensitive calls of a request run one after another, and each
                    # returns its database connection. So an open stream holds neither.
                    async with ThreadSensitiveContext(executor=SharedThreads(self.threads)):
                        await application(child, receive, send)
                    return
                break
        await self.django(scope, receive, send)

    def _child_scope(self, scope: HTTPScope, prefix: str) -> HTTPScope | None:
        """Return the application's scope; None if Django would refuse the request."""
        request = ASGIRequest(scope, BytesIO())
        try:
            request.get_host()
        except DisallowedHost:
            return None
        if settings.SECURE_SSL_REDIRECT and not request.is_secure():
            return None
        return {
            **scope,
            "root_path": scope.get("root_path", "") + prefix,
            "path": f"{prefix}/" if scope["path"] == prefix else scope["path"],
            "scheme": request.scheme or scope["scheme"],
            "state": dict(self.lifespans[prefix].state),
        }

    async def _run_lifespans(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await receive()
        for lifespan in self.lifespans.values():
            if error := await lifespan.announce("startup"):
                await send({"type": "lifespan.startup.failed", "message": error})
                return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        errors = [await each.announce("shutdown") for each in reversed(self.lifespans.values())]
        if message := "\n".join(filter(None, errors)):
            await send({"type": "lifespan.shutdown.failed", "message": message})
        else:
            await send({"type": "lifespan.shutdown.complete"})


class _Lifespan:
    """The lifespan of one application, which runs in its own task."""

    def __init__(self, prefix: str, application: ASGI3Application) -> None:
        self.prefix = prefix
        self.application = application
        # What the application adds here at startup is in the scope of each of its requests.
        self.state: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None

    async def announce(self, phase: str) -> str:
        """Announce the startup or the shutdown; return an error, or an empty string."""
        if self._task is None:
            self._received: asyncio.Queue[Any] = asyncio.Queue()
            self._sent: asyncio.Queue[Any] = asyncio.Queue()
            scope: Any = {
                "type": "lifespan",
                "asgi": {"version": "3.0", "spec_version": "2.0"},
                "state": self.state,
            }
            self._task = asyncio.ensure_future(
                self.application(scope, self._received.get, self._sent.put)
            )
        await self._received.put({"type": f"lifespan.{phase}"})
        sent = asyncio.ensure_future(self._sent.get())
        await asyncio.wait([self._task, sent], return_when=asyncio.FIRST_COMPLETED)
        if sent.done():
            event = sent.result()
            if event["type"] == f"lifespan.{phase}.failed":
                return f"The application at {self.prefix} failed: {event.get('message', '')}"
            return ""
        sent.cancel()
        # By the ASGI specification, an application without a lifespan raises an exception.
        if phase == "startup" and (error := self._task.exception()):
            logger.info("The application at %s has no lifespan: %r", self.prefix, error)
        return ""

"""A client that goes away takes no database connection with it."""

from __future__ import annotations

import asyncio
import contextvars
import logging

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    Scope,
)
from django.db import close_old_connections

logger = logging.getLogger(__name__)


class Disconnects:
    """ASGI middleware that gives connections back to the pool when a request was broken off.

    Django gives them back when it closes the response, in the thread that the request had. Of a
    request whose client has gone that may come too late or fail (asgiref's executor is gone by
    then): the thread ends with the connection, and the pool is one short for ever.
    """

    def __init__(self, app: ASGI3Application) -> None:
        """Wrap ``app``."""
        self.app = app

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Pass the request on, and tidy up in its thread when its client has gone."""
        gone = False

        async def watch() -> ASGIReceiveEvent:
            nonlocal gone
            event = await receive()
            gone = gone or event["type"] == "http.disconnect"
            return event

        # Django uses this thread, instead of one of its own.
        async with ThreadSensitiveContext():
            untouched = contextvars.copy_context()
            try:
                await self.app(scope, watch, send)
            except RuntimeError as error:
                if not gone:
                    raise
                logger.debug("The client had gone: %s", error)
            finally:
                if gone:
                    # After whatever the thread still does.
                    tidy = sync_to_async(close_old_connections)
                    await asyncio.get_running_loop().create_task(tidy(), context=untouched)

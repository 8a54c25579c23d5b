"""gunicorn's worker: uvicorn, with a way out that loses no request.

On SIGTERM gunicorn's master closes its own copy of the listening socket and sends SIGTERM to the
workers, which uvicorn answers by refusing connections at once, while load balancers still send
some: they learn of it only from the next failed probe. So a worker first says 503 on /readyz and
goes on serving for DRAIN_DELAY seconds, each answer asking its client to close the connection.
Then it closes its sockets and finishes what is in flight. GRACEFUL_TIMEOUT seconds after SIGTERM
the master kills what is left.

Of workers that wait at one socket, whichever wakes first takes most of the connections that come
together, and keeps them: one would be busy and the others idle. So each listens on a socket of its
own as well, and Linux deals new connections out. The price: those that wait at its own socket, and
are not accepted yet, hang with a worker that hangs, and are reset with one that is killed.
"""

from __future__ import annotations

import asyncio
import functools
import signal
import socket
import sys
import time
from types import FrameType

from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from gunicorn.arbiter import Arbiter
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

from environment.reading import load_or_exit
from probes.state import STATE


class DrainingServer(Server):
    """uvicorn's server, which keeps listening for ``delay`` seconds after SIGTERM."""

    delay = 0.0
    _leave_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a second signal ends the delay, and SIGINT after that the waiting."""
        if self._leave_at is None and sig == signal.SIGTERM:
            STATE.draining.set()
            self._leave_at = time.monotonic() + self.delay
            return
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Leave when the delay is over; asked ten times a second."""
        if self._leave_at is not None and time.monotonic() >= self._leave_at:
            self.should_exit = True
        return await super().on_tick(counter)


def closing_connections(app: ASGI3Application) -> ASGI3Application:
    """Return ``app``, its answers telling clients to close the connection while it drains."""

    async def wrapped(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def closing(event: ASGISendEvent) -> None:
            if event["type"] == "http.response.start" and STATE.draining.is_set():
                event["headers"] = [*event["headers"], (b"connection", b"close")]
            await send(event)

        await app(scope, receive, closing)

    return wrapped


class Worker(UvicornWorker):  # type: ignore[misc]  # it is untyped
    """UvicornWorker, on a DrainingServer."""

    # Even with a WebSocket library installed: Django's handler refuses WebSockets with an error.
    CONFIG_KWARGS = UvicornWorker.CONFIG_KWARGS | {"ws": "none"}

    async def _serve(self) -> None:
        self.config.app = closing_connections(self.wsgi)
        server = DrainingServer(self.config)
        server.delay = load_or_exit().DRAIN_DELAY
        # gunicorn's quick stop, which UvicornWorker receives and forgets.
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGQUIT, functools.partial(_leave_now, server)
        )
        await server.serve(sockets=[*self.sockets, *own_sockets(self.sockets)])
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


def own_sockets(shared: list[socket.socket]) -> list[socket.socket]:
    """Return a socket for the address of each that is bound, which goes on listening (socket(7)).

    SO_REUSEPORT is set after the bind: two servers still cannot be started on one port. Only Linux
    deals connections out; elsewhere the last socket would get them all.
    """
    if sys.platform != "linux":
        return []
    own = []
    for bound in shared:
        beside = socket.socket(bound.family, bound.type)
        for each in (bound, beside):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        beside.bind(bound.getsockname())
        own.append(beside)
    return own


def _leave_now(server: Server) -> None:
    server.should_exit = server.force_exit = True

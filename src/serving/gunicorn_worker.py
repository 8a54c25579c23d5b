"""gunicorn's worker: uvicorn, with a shutdown that loses no request.

On SIGTERM, gunicorn's master closes its copy of the listening socket and sends SIGTERM to the
workers. uvicorn would then refuse connections at once, but a load balancer sends requests until a
probe fails. So the worker shuts down in steps, counted from SIGTERM:

1. For DRAIN_DELAY seconds /readyz answers 503, and the worker goes on serving. Each response asks
   its client to close the connection.
2. Then the worker closes its sockets and finishes the requests in progress.
3. CLEANUP_TIME before GRACEFUL_TIMEOUT it disconnects the clients of responses that are still open,
   such as streams. Their clean-up runs, and the access log records them.
4. After half of CLEANUP_TIME it cancels the tasks that ignored the disconnect. At GRACEFUL_TIMEOUT
   the master kills what still runs, such as a synchronous view that blocks its thread.

Workers that share one listening socket get uneven shares: the worker that wakes first accepts most
connections and keeps them. So each worker also listens on its own socket, and Linux distributes
new connections. Consequence: connections queued on a hung worker's own socket wait with it, and
are reset if it is killed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
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
from uvicorn.config import Config
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

from environment.reading import load_or_exit
from probes.state import STATE

logger = logging.getLogger(__name__)

# Seconds for the clean-up of open responses, before the master kills the worker.
CLEANUP_TIME = 2.0


class DrainingServer(Server):
    """uvicorn's server with the shutdown described above. Arguments are seconds after SIGTERM."""

    def __init__(self, config: Config, drain_delay: float, graceful_timeout: float) -> None:
        super().__init__(config)
        self.drain_delay = drain_delay
        self.graceful_timeout = graceful_timeout
        self._sigterm_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a second signal ends the delay, and SIGINT after that ends the rest."""
        if self._sigterm_at is None and sig == signal.SIGTERM:
            STATE.draining.set()
            self._sigterm_at = time.monotonic()
            return
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Shut down when the delay has passed; called ten times a second."""
        if self._sigterm_at is not None:
            self.should_exit |= time.monotonic() >= self._sigterm_at + self.drain_delay
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the requests in progress, and end those that take too long."""
        passed = time.monotonic() - self._sigterm_at if self._sigterm_at is not None else 0.0
        remaining = max(0.0, self.graceful_timeout - passed)
        cleanup = min(CLEANUP_TIME, remaining / 2)
        self.config.timeout_graceful_shutdown = remaining - cleanup / 2  # type: ignore[assignment]
        disconnect = asyncio.get_running_loop().call_later(
            remaining - cleanup, self._disconnect_clients
        )
        await super().shutdown(sockets)
        disconnect.cancel()
        # uvicorn cancels tasks without waiting. The end of the event loop would cancel them again,
        # during their clean-up.
        if self.server_state.tasks and not self.force_exit:
            await asyncio.wait(self.server_state.tasks, timeout=cleanup / 2)

    def _disconnect_clients(self) -> None:
        """End the open responses as if their clients had disconnected."""
        connections = list(self.server_state.connections)
        logger.warning("Disconnecting %d clients whose responses are open", len(connections))
        for connection in connections:
            # Not close(), which waits until a slow client has read what is buffered.
            connection.transport.abort()


def close_connections_while_draining(app: ASGI3Application) -> ASGI3Application:
    """Return ``app``, with a ``Connection: close`` header on each response of a draining worker."""

    async def wrapped(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def send_with_header(event: ASGISendEvent) -> None:
            if event["type"] == "http.response.start" and STATE.draining.is_set():
                others = [each for each in event["headers"] if each[0].lower() != b"connection"]
                event["headers"] = [*others, (b"connection", b"close")]
            await send(event)

        await app(scope, receive, send_with_header)

    return wrapped


class DrainingWorker(UvicornWorker):  # type: ignore[misc]  # it is untyped
    """UvicornWorker, on a DrainingServer."""

    CONFIG_KWARGS = UvicornWorker.CONFIG_KWARGS | {
        # With a WebSocket library installed, uvicorn would accept WebSocket requests, and Django's
        # handler would log an error for each one. "none" makes it answer them as plain HTTP.
        "ws": "none",
        # TLS_IN_FRONT and TRUSTED_PROXY_COUNT tell Django which X-Forwarded-* headers to trust.
        "proxy_headers": False,
    }

    async def _serve(self) -> None:
        env = load_or_exit()
        self.config.app = close_connections_while_draining(self.wsgi)
        server = DrainingServer(self.config, env.DRAIN_DELAY, env.GRACEFUL_TIMEOUT)
        # gunicorn's quick shutdown. UvicornWorker installs a handler that only begins to drain.
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGQUIT, functools.partial(_exit_now, server)
        )
        await server.serve(sockets=[*self.sockets, *own_sockets(self.sockets)])
        if not server.started:  # pragma: no cover - coverage saves no data of a worker that fails
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


def own_sockets(shared: list[socket.socket]) -> list[socket.socket]:
    """Return one socket of this worker's own for each shared socket, on the same address.

    SO_REUSEPORT (socket(7)) is set after the bind, so a second server on the port still fails to
    start. Only Linux distributes connections. On other systems the last socket would get them all,
    so the list is empty there.
    """
    if sys.platform != "linux":
        return []
    own = []
    for bound in shared:
        unshared = socket.socket(bound.family, bound.type)
        for each in (bound, unshared):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        unshared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        unshared.bind(bound.getsockname())
        own.append(unshared)
    return own


def _exit_now(server: Server) -> None:
    server.should_exit = server.force_exit = True

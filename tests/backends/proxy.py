"""A TCP proxy in front of a real backing service, to simulate an outage and its end."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Proxy:
    """Forwards connections to ``target``, and holds data back while it is paused."""

    def __init__(self, target: tuple[str, int]) -> None:
        """Listen on a free port of the loopback interface."""
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        # Number of chunks from clients. A client that waits for each reply sends one per command.
        self.sent = 0
        self._running = threading.Event()
        self._running.set()
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def pause(self) -> None:
        """Accept connections and data, but answer nothing."""
        self._running.clear()

    def resume(self) -> None:
        """Forward the data that was held back, and all later data."""
        self._running.set()

    def close(self) -> None:
        """Close all connections."""
        self.resume()
        for each in self._sockets:
            # shutdown() wakes a thread that reads from the socket; close() does not.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._running.wait()
                self.sent += source.getsockname()[1] == self.port
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def proxy(host: str, port: int) -> Iterator[Proxy]:
    """Run a proxy for the block."""
    made = Proxy((host, port))
    try:
        yield made
    finally:
        made.close()

"""A server that speaks TLS, in front of a backing service that does not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

# https://www.postgresql.org/docs/18/protocol-message-formats.html
SSL_REQUEST = bytes.fromhex("00000008 04d2162f")

type Address = tuple[str, int]


@contextlib.contextmanager
def tls_relay(target: Address, certificate: Path, *, postgres: bool = False) -> Iterator[int]:
    """Yield a loopback port that accepts TLS and passes the data on to ``target``.

    ``certificate`` is a PEM file, and its key is in the same folder. With ``postgres``, clients ask
    for TLS first, as PostgreSQL's protocol demands.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    started: Future[tuple[int, asyncio.Event, asyncio.AbstractEventLoop]] = Future()

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: writer.transport.abort())
            # Clients that refuse the certificate disconnect during the handshake.
            stack.enter_context(contextlib.suppress(OSError, asyncio.IncompleteReadError))
            if postgres:
                asked = await reader.readexactly(8) == SSL_REQUEST
                writer.write(b"S" if asked else b"E")
                await writer.start_tls(context)
            service_reader, service_writer = await asyncio.open_connection(*target)
            stack.callback(service_writer.transport.abort)
            await asyncio.gather(pass_on(reader, service_writer), pass_on(service_reader, writer))

    async def main() -> None:
        tls = None if postgres else context
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        stop = asyncio.Event()
        port = server.sockets[0].getsockname()[1]
        started.set_result((port, stop, asyncio.get_running_loop()))
        await stop.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    port, stop, loop = started.result(5)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()

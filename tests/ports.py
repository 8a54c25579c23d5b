"""TCP ports for the processes that a test starts."""

import contextlib
import random
import socket


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback address that nothing uses.

    They are not among the system's ephemeral ports, since another process may get one of those
    before the test uses it.

    Args:
        count: Number of ports, all different.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(15_000, 30_000)  # noqa: S311 - no secret
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports += [port] if port not in ports else []
    return ports

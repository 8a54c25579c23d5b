"""PostgreSQL and Redis are out of reach of the edge network, and have no route to the outside."""

from __future__ import annotations

import json

import pytest

from scripts.stack.engine import PROJECT, Stack, run

PORTS = {"postgres": 5432, "redis": 6379}
# An address of a documentation network, which no machine has (RFC 5737).
OUTSIDE = "192.0.2.1"
# Prints for each address whether its port accepts a connection.
CONNECT = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def accepts(address):
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True
with ThreadPoolExecutor() as pool:
    print(json.dumps(dict(zip(sys.argv[1:], pool.map(accepts, sys.argv[1:])))))
"""


def addresses(stack: Stack) -> list[str]:
    """Return the addresses of PostgreSQL and Redis, by host name and by IP."""
    return [
        f"{host}:{port}"
        for service, port in PORTS.items()
        for host in (service, stack.container(service).address)
    ]


def test_edge_network_reaches_neither_postgres_nor_redis(stack: Stack) -> None:
    wanted = addresses(stack)
    command = ("python", "-c", CONNECT, *wanted)
    on_edge = run(
        "docker", "run", "--rm", "--network", stack.edge, f"{PROJECT}-ecs", *command
    ).stdout
    assert json.loads(on_edge) == dict.fromkeys(wanted, False)
    for service in ("web", "worker"):
        inside = stack.container(service).exec(*command)
        assert json.loads(inside) == dict.fromkeys(wanted, True), service


@pytest.mark.parametrize(
    ("service", "command"),
    [
        ("postgres", ("psql", f"host={OUTSIDE} user=any connect_timeout=2")),
        ("redis", ("redis-cli", "-h", OUTSIDE, "ping")),
    ],
)
def test_data_service_has_no_route_out(
    stack: Stack, service: str, command: tuple[str, ...]
) -> None:
    container = stack.container(service)
    done = run("docker", "exec", container.id, *command, check=False)
    assert "Network is unreachable" in done.stdout + done.stderr


def test_web_and_worker_have_a_route_out(stack: Stack) -> None:
    """Without it, the worker could not reach a mail server."""
    for service in ("web", "worker"):
        _names, *routes = stack.container(service).exec("cat", "/proc/net/route").splitlines()
        assert "00000000" in [route.split()[1] for route in routes], service

"""What TLS to PostgreSQL and Redis costs."""

from __future__ import annotations

from functools import partial

from scripts.bench.clone import RUNS
from scripts.bench.costs import CONNECT, CONNECTIONS
from scripts.bench.cpu import seconds_of
from scripts.bench.results import Figure, at_least, ratios
from scripts.bench.servers import PAGE, Servers


def tls(servers: Servers) -> list[Figure]:
    """The page of *requests* over TLS to PostgreSQL and Redis, with verified certificates and
    passwords, and over plain connections. Both services start again between two runs.
    """
    rates: dict[str, list[float]] = {"ecs": [], "ecs-tls": []}
    connects: dict[str, list[float]] = {"ecs": [], "ecs-tls": []}

    def start_services(target: str) -> None:
        servers.stack.compose("up", "--detach", "--wait", "postgres", "redis", target=target)

    try:
        for _ in range(RUNS):
            for target in rates:
                start_services(target)
                with servers.serving(partial(servers.serve, target=target)) as [web]:
                    servers.load(web, PAGE, seconds=2)
                    rates[target].append(servers.load(web, PAGE).rate)
                    postgres = servers.stack.container("postgres").id
                    before = seconds_of(postgres)
                    web.python(CONNECT)
                    connects[target].append((seconds_of(postgres) - before) / CONNECTIONS * 1000)
    finally:
        start_services("ecs")
    return [
        Figure("page", "req/s", rates["ecs"]),
        Figure("page, TLS", "req/s", rates["ecs-tls"]),
        Figure("TLS / plain", "×", ratios(rates["ecs-tls"], rates["ecs"]), at_least(0.9)),
        Figure("new connection: postgres", "ms CPU", connects["ecs"]),
        Figure("new connection, TLS: postgres", "ms CPU", connects["ecs-tls"]),
    ]

"""Unit costs of a request and a connection; docs/scaling.md is calculated from them."""

from __future__ import annotations

import time

from scripts.bench.clone import RUNS
from scripts.bench.cpu import seconds_of
from scripts.bench.results import Figure
from scripts.bench.servers import PAGE, PLAIN, Servers
from scripts.stack.engine import Container, run

# CONNECT opens new connections with one query each. ROUND_TRIPS prints the milliseconds of one
# query over an open connection.
CONNECTIONS = 50
CONNECT = f"""
import os, psycopg
for _ in range({CONNECTIONS}):
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("SELECT 1")
"""
ROUND_TRIPS = """
import os, statistics, time, psycopg, redis
database = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
cache = redis.Redis.from_url(os.environ["REDIS_URL"])
for ask in (lambda: database.execute("SELECT 1"), cache.ping):
    times = []
    for _ in range(500):
        start = time.perf_counter()
        ask()
        times.append(time.perf_counter() - start)
    print(statistics.median(times) * 1000)
"""
# Idle connections, held while PostgreSQL's memory is measured.
IDLE = 20
HELD = 4  # seconds
HOLD = f"""
import os, time, psycopg
held = [psycopg.connect(os.environ["DATABASE_URL"]) for _ in range({IDLE})]
for connection in held:
    connection.execute("SELECT count(*) FROM accounts_user WHERE email = 'nobody'")
time.sleep({HELD})
"""
# Prints the PSS of all PostgreSQL processes, in kB.
MEMORY = "cat /proc/[0-9]*/smaps_rollup | awk '/^Pss:/ { sum += $2 } END { print sum }'"
TRANSACTIONS = "SELECT sum(xact_commit) FROM pg_stat_database WHERE datname = 'methodhub'"


def costs(servers: Servers) -> list[Figure]:
    """Processor time of each container under load divided by the number of requests, with the
    transactions and Redis commands per request. The page is the one in *requests*."""
    postgres, redis = (servers.stack.container(name) for name in ("postgres", "redis"))
    found: dict[tuple[str, str], list[float]] = {}

    def note(what: str, unit: str, value: float) -> None:
        found.setdefault((what, unit), []).append(value)

    with servers.serving(lambda: servers.serve()) as [web]:
        servers.load(web, PAGE, seconds=2)
        for _ in range(RUNS):
            asked = _transactions(postgres), _commands(redis)
            load = servers.load(web, PAGE, watched=(web, postgres, redis))
            said = _transactions(postgres), _commands(redis)
            for service, spent in zip(("web", "postgres", "redis"), load.cpu, strict=True):
                note(f"page: {service}", "ms CPU", spent / load.requests * 1000)
            note("page: transactions", "", (said[0] - asked[0]) / load.requests)
            note("page: Redis commands", "", (said[1] - asked[1]) / load.requests)
            trivial = servers.load(web, PLAIN, watched=(web,))
            note("trivial view: web", "ms CPU", trivial.cpu[0] / trivial.requests * 1000)
            one = servers.load(web, PAGE, seconds=2, connections=1)
            note("page, one client: answer", "ms", one.p50)
            for value, service in zip(
                web.python(ROUND_TRIPS).split(), ("PostgreSQL", "Redis"), strict=True
            ):
                note(f"round trip to {service}", "ms", float(value))
            before = seconds_of(postgres.id)
            web.python(CONNECT)
            spent = (seconds_of(postgres.id) - before) / CONNECTIONS
            note("new connection: postgres", "ms CPU", spent * 1000)
            note("idle connection: postgres", "MB", _idle_connection(web, postgres))
    return [Figure(what, unit, values) for (what, unit), values in found.items()]


def _transactions(postgres: Container) -> int:
    # PostgreSQL backends report their statistics at most once a second.
    postgres.exec("sleep", "1.2")
    said = postgres.exec("psql", "-qAtU", "postgres", "-d", "postgres", "-c", TRANSACTIONS)
    return int(said)


def _commands(redis: Container) -> int:
    said = redis.exec("sh", "-c", "redis-cli $REDISCLI_OPTIONS info stats")
    return int(said.split("total_commands_processed:")[1].split()[0])


def _idle_connection(web: Container, postgres: Container) -> float:
    """Return PostgreSQL's memory for each idle connection, in MB."""

    def kilobytes() -> int:
        # Root inside a container may only read its own processes.
        said = run("docker", "exec", "--user", "postgres", postgres.id, "sh", "-c", MEMORY)
        return int(said.stdout)

    before = kilobytes()
    run("docker", "exec", "--detach", web.id, "python", "-c", HOLD)
    time.sleep(HELD / 2)
    during = kilobytes()
    time.sleep(HELD / 2 + 1)
    return (during - before) * 1024 / IDLE / 1e6

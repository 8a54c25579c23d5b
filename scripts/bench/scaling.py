"""The calculations of docs/scaling.md: from unit costs to tasks, connections and cores."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque

from scripts.bench.results import markdown

# A small Fargate task, and the ecs target's default.
TASK_CPUS, WORKERS = 0.5, 2
# DATABASE_POOL_SIZE: the default, and the smallest that the simulation supports.
POOLS = (8, 3)
# PostgreSQL's default is 100, of which 3 are reserved for superusers.
MAX_CONNECTIONS = 97
# Planned CPU utilisation of a task; the rest absorbs bursts, deployments and a lost task.
USED = 0.6
# Round trip to a service in another availability zone, in milliseconds.
NETWORK = 1.0
RATES = (10, 100, 1_000, 10_000)
BUSY = (0.6, 0.8, 0.9)
FLEET = [
    "pages/s",
    "tasks",
    "connections busy",
    *(f"connections held, pool {pool}" for pool in POOLS),
    "PostgreSQL cores",
    "Redis commands/s",
    "Redis cores",
]


def simulate(
    cpu: float, wait: float, used: float, pool: int, *, requests: int = 20_000, seed: int = 1
) -> list[float]:
    """Simulate one worker and return the latency of each request in milliseconds, sorted.

    The worker computes for one request at a time: ``cpu`` milliseconds, half before and half after
    the query. Any number of requests may wait for PostgreSQL (``wait`` milliseconds each). A
    request holds a connection from its query until its response ends. Requests arrive at random, at
    a rate that uses the fraction ``used`` of the processor.
    """
    chance = random.Random(seed)  # noqa: S311 - a simulation
    arrived = list(itertools.accumulate(chance.expovariate(used / cpu) for _ in range(requests)))
    events = [(at, number, "arrives") for number, at in enumerate(arrived)]
    for_processor: deque[tuple[int, str]] = deque()
    for_connection: deque[int] = deque()
    times = []
    held, busy = 0, False
    while events:
        now, number, what = heapq.heappop(events)
        if what == "arrives":
            for_processor.append((number, "asks"))
        elif what == "is answered":
            for_processor.append((number, "ends"))
        else:
            busy = False
            if what == "asks":
                for_connection.append(number)
            else:
                held -= 1
                times.append(now - arrived[number])
        if for_connection and held < pool:
            held += 1
            heapq.heappush(events, (now + wait, for_connection.popleft(), "is answered"))
        if for_processor and not busy:
            busy = True
            number, then = for_processor.popleft()
            heapq.heappush(events, (now + chance.expovariate(2 / cpu), number, then))
    return sorted(times)


def pools(costs: dict[str, float]) -> list[list[str]]:
    """Return the 99th percentile of the latency by pool size and CPU utilisation."""
    cpu = costs["page: web"] * WORKERS / TASK_CPUS
    lines = []
    for pool in (1, 2, 3, 4, 8):
        times = [simulate(cpu, _waits(costs), used, pool) for used in BUSY]
        lines.append([str(pool), *(f"{each[len(each) * 99 // 100]:.0f} ms" for each in times)])
    return lines


def fleets(costs: dict[str, float]) -> list[list[str]]:
    """Return the resources that each rate of pages per second needs."""
    lines = []
    for rate in RATES:
        tasks = math.ceil(rate * costs["page: web"] / 1000 / (TASK_CPUS * USED))
        # One more connection per worker serves the probes.
        held = [tasks * WORKERS * (pool + 1) for pool in POOLS]
        lines.append(
            [
                f"{rate:,}",
                f"{tasks:,}",
                f"{rate * _waits(costs) / 1000:.1f}",
                *(
                    f"{each:,} ({each * costs['idle connection: postgres'] / 1000:.1f} GB)"
                    for each in held
                ),
                f"{rate * costs['page: postgres'] / 1000:.2f}",
                f"{rate * costs['page: Redis commands']:,.0f}",
                f"{rate * costs['page: redis'] / 1000:.2f}",
            ]
        )
    return lines


def _waits(costs: dict[str, float]) -> float:
    """Return how long a page waits for PostgreSQL, in milliseconds."""
    return costs["page: transactions"] * (costs["round trip to PostgreSQL"] + NETWORK)


def units(costs: dict[str, float]) -> list[list[str]]:
    """Return the capacity of one task and of each backing service."""
    task = TASK_CPUS * 1000 / costs["page: web"]
    per_task = WORKERS * (POOLS[0] + 1)
    allowed = MAX_CONNECTIONS // per_task
    redis, cores = 1000 / costs["page: redis"], 1000 / costs["page: postgres"]
    without_pool = costs["page: postgres"] + costs["new connection: postgres"]
    return [
        ["a task at 100% CPU", f"{task:,.0f} pages/s", f"{TASK_CPUS} / page: web"],
        [f"a task at {USED:.0%} CPU", f"{task * USED:,.0f} pages/s", "the planning figure"],
        [
            f"PostgreSQL's connections ({MAX_CONNECTIONS} free)",
            f"{allowed} tasks, {allowed * task * USED:,.0f} pages/s",
            f"{MAX_CONNECTIONS} / ({WORKERS} workers × ({POOLS[0]} + 1))",
        ],
        ["Redis's single thread", f"{redis:,.0f} pages/s", "1 / page: redis"],
        ["a core of PostgreSQL", f"{cores:,.0f} pages/s", "1 / page: postgres"],
        [
            "a core of PostgreSQL, without a pool",
            f"{1000 / without_pool:,.0f} pages/s",
            "1 / (page: postgres + new connection)",
        ],
    ]


def tables(costs: dict[str, float]) -> str:
    """Return the generated tables of docs/scaling.md."""
    return "\n".join(
        [
            "Capacity of one of each:\n",
            markdown(["what", "capacity", "calculation"], units(costs)),
            f"Requirements by page rate, with tasks at {USED:.0%} CPU:\n",
            markdown(FLEET, fleets(costs)),
            "Simulated 99th percentile of the response time, by pool size and CPU utilisation of a"
            "\nworker:\n",
            markdown(["pool", *(f"{used:.0%} CPU" for used in BUSY)], pools(costs)),
        ]
    )

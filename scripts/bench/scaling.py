"""The arithmetic of docs/scaling.md: from measured unit costs to tasks, connections and cores."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque

from scripts.bench.results import markdown

# Of a small Fargate task, and of the ecs target.
TASK_CPUS, WORKERS = 0.5, 2
# DATABASE_POOL_SIZE as it is by default, and as small as the simulation allows.
POOLS = (8, 3)
# Of PostgreSQL's default 100, superusers reserve 3.
MAX_CONNECTIONS = 97
# What a task's processor is used at, so that a burst, a deployment or a lost task fits in.
USED = 0.6
# Milliseconds to a service in another availability zone and back; on one machine it is less.
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
    """Return the milliseconds from each request's arrival to its answer, sorted.

    One worker: it computes for one request at a time (``cpu`` milliseconds, half before and half
    after PostgreSQL's answer) and waits for PostgreSQL (``wait``) with any number. A connection is
    held from the question to the answer's end. Requests come at random, so many that the
    worker's share of the processor is ``used``.
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
    """Return what one request in a hundred takes at least, by pool size and busy processor."""
    cpu = costs["page: web"] * WORKERS / TASK_CPUS
    lines = []
    for pool in (1, 2, 3, 4, 8):
        times = [simulate(cpu, _waits(costs), used, pool) for used in BUSY]
        lines.append([str(pool), *(f"{each[len(each) * 99 // 100]:.0f} ms" for each in times)])
    return lines


def fleets(costs: dict[str, float]) -> list[list[str]]:
    """Return what so many pages a second need of each service."""
    lines = []
    for rate in RATES:
        tasks = math.ceil(rate * costs["page: web"] / 1000 / (TASK_CPUS * USED))
        # The one more is the probes'.
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
    """Return the milliseconds that a page waits for PostgreSQL."""
    return costs["page: transactions"] * (costs["round trip to PostgreSQL"] + NETWORK)


def units(costs: dict[str, float]) -> list[list[str]]:
    """Return what one task and one server carry, by the unit costs."""
    task = TASK_CPUS * 1000 / costs["page: web"]
    per_task = WORKERS * (POOLS[0] + 1)
    allowed = MAX_CONNECTIONS // per_task
    redis, cores = 1000 / costs["page: redis"], 1000 / costs["page: postgres"]
    without_pool = costs["page: postgres"] + costs["new connection: postgres"]
    return [
        ["a task, its processor full", f"{task:,.0f} pages/s", f"{TASK_CPUS} / page: web"],
        [f"a task at {USED:.0%}", f"{task * USED:,.0f} pages/s", "what to plan with"],
        [
            f"PostgreSQL's connections ({MAX_CONNECTIONS} free)",
            f"{allowed} tasks, {allowed * task * USED:,.0f} pages/s",
            f"{MAX_CONNECTIONS} / ({WORKERS} workers × ({POOLS[0]} + 1))",
        ],
        ["Redis's one thread", f"{redis:,.0f} pages/s", "1 / page: redis"],
        ["a core of PostgreSQL", f"{cores:,.0f} pages/s", "1 / page: postgres"],
        [
            "the same without a pool",
            f"{1000 / without_pool:,.0f} pages/s",
            "1 / (page: postgres + new connection)",
        ],
    ]


def tables(costs: dict[str, float]) -> str:
    """Return the tables of docs/scaling.md."""
    return "\n".join(
        [
            "What one of each carries:\n",
            markdown(["what", "carries", "since"], units(costs)),
            f"What pages a second need, tasks at {USED:.0%} of their processor:\n",
            markdown(FLEET, fleets(costs)),
            "Simulated: what one page in a hundred takes at least, by the connections of a worker's"
            "\npool and by how busy its processor is:\n",
            markdown(["pool", *(f"{used:.0%} busy" for used in BUSY)], pools(costs)),
        ]
    )

"""The cost of the background task queue, without the tasks' own work."""

from __future__ import annotations

import time
from collections import defaultdict

from scripts.bench.cpu import seconds_of
from scripts.bench.results import Figure, Target, at_most, ratios
from scripts.bench.servers import HERE, Servers
from scripts.stack.engine import Container, wait_for

RUNS = 3
TASKS = 10_000
FINISHED_ROWS = 1_000_000
IDLE_SECONDS = 20
# Prints the processor time of one enqueue, in milliseconds.
ENQUEUE = f"""
import django, time
django.setup()
from django.db import transaction
from bench_tasks import nothing
start = time.process_time()
with transaction.atomic():
    for _ in range({TASKS}):
        nothing.enqueue()
print((time.process_time() - start) / {TASKS} * 1000)
"""
ENQUEUE_SINGLY = """
import django, time
django.setup()
from bench_tasks import nothing
for _ in range(200):
    nothing.enqueue()
    time.sleep(0.05)
"""
UNFINISHED = "SELECT count(*) FROM django_ox_oxtask WHERE status IN ('READY', 'RUNNING')"
SECONDS = """
SELECT extract(epoch FROM max(finished_at) - min(started_at)) FROM django_ox_oxtask
WHERE enqueued_at > '{}'
"""
LATENCY = """
SELECT 1000 * extract(epoch FROM
  percentile_cont({}) WITHIN GROUP (ORDER BY started_at - enqueued_at)) FROM django_ox_oxtask
"""
FILL = f"""
INSERT INTO django_ox_oxtask
SELECT (jsonb_populate_record(task, jsonb_build_object('id', gen_random_uuid()))).*
FROM (SELECT django_ox_oxtask AS task FROM django_ox_oxtask
  WHERE status = 'SUCCESSFUL' LIMIT 1) finished,
  generate_series(1, {FINISHED_ROWS})
"""
# Prints the resident memory of the worker process, in MB.
RESIDENT = """
from pathlib import Path
for process in Path("/proc").glob("[0-9]*"):
    if process.joinpath("cmdline").read_bytes().startswith(b"python\\0manage.py"):
        for line in process.joinpath("status").read_text().splitlines():
            if line.startswith("VmRSS"):
                print(int(line.split()[1]) * 1024 / 1e6)
"""
TARGETS: dict[str, Target] = {
    "enqueue to start, median": at_most(50),
    "idle: worker": at_most(1),
    "resident memory": at_most(90, by="worst"),
    "run beside finished rows / run": at_most(1.5),
}


def tasks(servers: Servers) -> list[Figure]:
    """One worker with one core and the default TASK_CONCURRENCY. It runs 10,000 tasks that do
    nothing, enqueued in one transaction, and the same beside 1,000,000 finished rows. The time
    from enqueue to start is that of single tasks, while the worker is idle."""
    postgres = servers.stack.container("postgres")
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def start(*command: str) -> Container:
        return servers.stack.start(
            *command,
            service="worker",
            env={"PYTHONPATH": "/app/src:/bench", "DJANGO_SETTINGS_MODULE": "config.settings"},
            options=("--volume", f"{HERE}/apps:/bench:ro"),
        )

    def run_all(beside: str) -> None:
        since = query(postgres, "SELECT now()")
        before = seconds_of(worker.id), seconds_of(postgres.id)
        found[f"enqueue{beside}", "ms CPU"].append(float(client.python(ENQUEUE)))
        wait_for(lambda: query(postgres, UNFINISHED) == "0", 300, every=0.5)
        after = seconds_of(worker.id), seconds_of(postgres.id)
        found[f"run{beside}: worker", "ms CPU"].append((after[0] - before[0]) / TASKS * 1000)
        found[f"enqueue and run{beside}: postgres", "ms CPU"].append(
            (after[1] - before[1]) / TASKS * 1000
        )
        rate = TASKS / float(query(postgres, SECONDS.format(since)))
        found[f"rate{beside}", "tasks/s"].append(rate)

    beside = " beside finished rows"
    with servers.serving(start, lambda: start("sleep", "infinity")) as [worker, client]:
        worker.docker("update", "--cpus", "1")
        worker.wait_healthy()
        for _ in range(RUNS):
            query(postgres, "TRUNCATE django_ox_oxtask CASCADE")
            client.python(ENQUEUE_SINGLY)
            for name, share in (("median", 0.5), ("99th percentile", 0.99)):
                milliseconds = float(query(postgres, LATENCY.format(share)))
                found[f"enqueue to start, {name}", "ms"].append(milliseconds)
            before = seconds_of(worker.id)
            time.sleep(IDLE_SECONDS)
            idle = (seconds_of(worker.id) - before) / IDLE_SECONDS
            found["idle: worker", "% of a core"].append(idle * 100)
            run_all("")
            query(postgres, FILL)
            query(postgres, "VACUUM ANALYZE django_ox_oxtask")
            run_all(beside)
        found["resident memory", "MB"] += map(float, worker.python(RESIDENT).split())
    found["run beside finished rows / run", ""] = ratios(
        found[f"run{beside}: worker", "ms CPU"], found["run: worker", "ms CPU"]
    )
    return [Figure(what, unit, values, TARGETS.get(what)) for (what, unit), values in found.items()]


def query(postgres: Container, statement: str) -> str:
    """Run SQL as the superuser; return the unaligned rows."""
    psql = ("psql", "-qAtU", "postgres", "-d", "methodhub", "-v", "ON_ERROR_STOP=1", "-c")
    return postgres.exec(*psql, statement).strip()

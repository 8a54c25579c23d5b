"""Measure, keep the results in .local/bench/, print the table and write docs/benchmarks/.

python -m scripts.bench [GROUP…]: all groups, or those named. What is measured runs in a Compose
project of its own, from a copy of the work tree.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable

# Before anything reads it: never the developer's own project.
os.environ["COMPOSE_PROJECT_NAME"] = os.environ.get("COMPOSE_PROJECT_NAME", "methodhub") + "-bench"

from scripts.bench import commands, costs, machine, report, results, servers
from scripts.bench.clone import FOLDER, Clone, MeasureError
from scripts.stack.engine import ROOT

type Measure[Subject] = Callable[[Subject], list[results.Figure]]
ON_A_CLONE: list[Measure[Clone]] = [
    commands.image,
    commands.build,
    commands.start,
    commands.reload,
    commands.tests,
]
ON_SERVERS: list[Measure[servers.Servers]] = [
    servers.requests,
    servers.static,
    servers.memory,
    servers.replicas,
    servers.growth,
    costs.costs,
]
GROUPS = [measure.__name__ for measure in [*ON_A_CLONE, *ON_SERVERS]]


def main(*wanted: str) -> int:
    """Measure the groups wanted, all by default; return the exit status."""
    unknown = [name for name in wanted if name not in GROUPS]
    if unknown:
        print(f"There is no group {unknown[0]}: ONLY={'|'.join(GROUPS)}.", file=sys.stderr)
        return 1
    if not shutil.which("hyperfine"):
        print(
            "bench needs hyperfine: install it (apt install hyperfine) and try again.",
            file=sys.stderr,
        )
        return 1
    # So that what runs is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    status = 0
    try:
        measure(ON_A_CLONE, Clone, wanted)
        measure(ON_SERVERS, servers.Servers, wanted)
    except (MeasureError, AssertionError) as failure:
        print(failure, file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    # What was measured before a failure counts too; ONLY= brings the rest.
    found = results.load(FOLDER, GROUPS)
    if not found:
        return status
    print(results.table([result for result in found if not wanted or result.group in wanted]))
    report.write(found, ROOT / "docs")
    print(
        "Written: docs/benchmarks/README.md with its pictures, and the tables of docs/scaling.md."
    )
    return 0


def measure[Subject: (Clone, servers.Servers)](
    groups: list[Measure[Subject]], make: Callable[[], Subject], wanted: tuple[str, ...]
) -> None:
    """Measure those groups that are wanted, on one subject, which is removed at the end."""
    chosen = [group for group in groups if not wanted or group.__name__ in wanted]
    if not chosen:
        return
    subject = make()
    try:
        for group in chosen:
            print(f"{group.__name__} …", end=" ", flush=True, file=sys.stderr)
            start = time.monotonic()
            figures = group(subject)
            about = " ".join((group.__doc__ or "").split())
            result = results.Result(group.__name__, about, machine.describe(), figures)
            results.save(result, FOLDER)
            print(f"{time.monotonic() - start:.0f} s", flush=True, file=sys.stderr)
    finally:
        subject.remove()


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))

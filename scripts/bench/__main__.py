"""Run the benchmarks, save the results in docs/benchmarks/results/ and write the page from them.

Usage: python -m scripts.bench [GROUP…]. Without arguments all groups run. The measured stack is a
separate Compose project, built from a copy of the work tree.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable

# Set before the imports below read it, so that the developer's own project is never touched.
os.environ["COMPOSE_PROJECT_NAME"] = os.environ.get("COMPOSE_PROJECT_NAME", "methodhub") + "-bench"

from scripts.bench import commands, costs, machine, report, results, servers, streams, tasks, tls
from scripts.bench.clone import Clone, MeasureError
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
    tasks.tasks,
    tls.tls,
    streams.streams,
]
# Committed, so that a run of one group keeps the rows of all others.
RESULTS = ROOT / "docs/benchmarks/results"
GROUPS = [measure.__name__ for measure in [*ON_A_CLONE, *ON_SERVERS]]


def main(*wanted: str) -> int:
    """Run the named groups, or all of them, and return the exit status."""
    unknown = [name for name in wanted if name not in GROUPS]
    if unknown:
        print(f"Unknown group '{unknown[0]}'. Use one of ONLY={'|'.join(GROUPS)}.", file=sys.stderr)
        return 1
    if not shutil.which("hyperfine"):
        print(
            "bench needs hyperfine. Install it (apt install hyperfine) and try again.",
            file=sys.stderr,
        )
        return 1
    # SIGTERM must also stop the containers, as Ctrl-C does.
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
    # Groups that finished before a failure are reported; ONLY= runs the rest.
    found = results.load(RESULTS, GROUPS)
    if not found:
        return status
    print(results.table([result for result in found if not wanted or result.group in wanted]))
    report.write(found, ROOT / "docs")
    print("Wrote docs/benchmarks/README.md, its charts, and the tables of docs/scaling.md.")
    return 0


def measure[Subject: (Clone, servers.Servers)](
    groups: list[Measure[Subject]], make: Callable[[], Subject], wanted: tuple[str, ...]
) -> None:
    """Run the chosen groups against one subject, and remove it afterwards."""
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
            results.save(result, RESULTS)
            print(f"{time.monotonic() - start:.0f} s", flush=True, file=sys.stderr)
    finally:
        subject.remove()


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))

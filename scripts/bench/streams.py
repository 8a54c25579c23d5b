"""The cost of open streams: memory, processor time, and the delay of pages beside them."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections import defaultdict

from scripts.bench.cpu import seconds_of
from scripts.bench.results import Figure, Target, at_most, ratios
from scripts.bench.servers import HERE, MEMORY, PAGE, Servers
from scripts.stack.engine import Container

RUNS = 3
STREAMS = 1000
# Of the ecs target: half a core and 1 GB (compose.ecs-local.yml).
CPUS = "0.5"
# Pages that one client opens, and its pause after each, in seconds: the task has time left.
PAGES = 200
PAUSE = 0.05
# At full load, wrk's connections use all of the task's processor time.
CONNECTIONS = 2
FULL_LOAD_SECONDS = 10
# Seconds without pages, in which events are counted.
EVENTS_SECONDS = 20
TARGETS: dict[str, Target] = {"page beside the streams / page": at_most(2)}


def streams(servers: Servers) -> list[Figure]:
    """One task with 0.5 vCPU, 1 GB and 2 workers holds 1,000 calls of an MCP tool open, each of
    which sends an event every 5 seconds. A client opens the home page of a signed-in user up to 20
    times a second, without and with the streams. At full load, wrk opens it over 2 connections as
    often as the task can answer. Processor time per event is that of the task while no page is
    opened; memory is PSS."""
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def start_client() -> Container:
        return servers.stack.start(
            "sleep", "infinity", options=("--volume", f"{HERE}/apps:/bench:ro")
        )

    def serve() -> Container:
        return servers.serve(cpus=CPUS, DJANGO_SETTINGS_MODULE="bench_streams_settings")

    def page(web: Container, what: str) -> None:
        browser = web.browser(Cookie=f"sessionid={servers.sessions[0]}")
        times = []
        for _ in range(PAGES):
            answer = browser.get(PAGE)
            assert answer.status == 200, f"{PAGE} answers {answer.status}"
            times.append(answer.seconds * 1000)
            time.sleep(PAUSE)
        found[f"{what}: median", "ms"].append(statistics.median(times))
        found[f"{what}: 99th percentile", "ms"].append(statistics.quantiles(times, n=100)[98])
        load = servers.load(web, PAGE, seconds=FULL_LOAD_SECONDS, connections=CONNECTIONS)
        found[f"{what}, full load: 99th percentile", "ms"].append(load.p99)

    def memory(web: Container) -> float:
        return int(web.python(MEMORY).split()[0]) / 1e3

    with servers.serving(serve, start_client) as [web, client]:
        client.docker("update", "--cpus", "1")
        servers.load(web, PAGE, seconds=3)
        # The process keeps the memory of closed streams for the next ones.
        without = memory(web)
        for _ in range(RUNS):
            page(web, "page")
            command = ("docker", "exec", "--interactive", client.id, "python")
            script = ("/bench/bench_streams_client.py", web.address, str(STREAMS))
            with subprocess.Popen(
                [*command, *script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdin
                assert process.stdout
                assert process.stdout.readline() == "open\n"
                found["memory of a stream", "kB"].append((memory(web) - without) / STREAMS)

                def events(process: subprocess.Popen[str] = process) -> int:
                    """Return the events since the last call."""
                    assert process.stdin
                    assert process.stdout
                    print(file=process.stdin, flush=True)
                    return int(process.stdout.readline())

                events()
                used = seconds_of(web.id)
                time.sleep(EVENTS_SECONDS)
                milliseconds = (seconds_of(web.id) - used) * 1000
                found["processor time of an event", "ms CPU"].append(milliseconds / events())
                page(web, "page beside the streams")
                process.stdin.close()
            # The server cancels the calls of clients that are gone.
            time.sleep(3)
    found["page beside the streams / page", "×"] = ratios(
        found["page beside the streams: 99th percentile", "ms"],
        found["page: 99th percentile", "ms"],
    )
    return [Figure(what, unit, values, TARGETS.get(what)) for (what, unit), values in found.items()]

"""MCP clients of the ecs target: a rolling deployment, and an independent judge of the protocol."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scripts.stack.engine import PROJECT, ROOT, Container, Stack, wait_for
from tests.stack.figures import figure

APPS = ("--volume", f"{ROOT}/tests/stack/apps:/apps:ro")
# The default WORKERS. Shorter than the default drain, to keep the test short.
ENV = {
    "DJANGO_SETTINGS_MODULE": "mcp_settings",
    "PYTHONPATH": "/app/src:/apps",
    "DRAIN_DELAY": "3",
    "GRACEFUL_TIMEOUT": "11",
}
REPLICAS = 3
CALLS = 100
MODES = ("legacy", "2026-07-28")
# .ci/run installs it. Newer versions need a newer Node.js than Debian's.
CONFORMANCE = ROOT / ".local/conformance/node_modules/.bin/conformance"
INSTALL = "npm install --prefix .local/conformance @modelcontextprotocol/conformance@0.1.13"


@pytest.fixture
def replicas(stack: Stack) -> Iterator[dict[str, Container]]:
    """Started replicas, by name; removed at the end."""
    started: dict[str, Container] = {}
    yield started
    for container in started.values():
        container.remove()


def test_rolling_deployment_fails_no_call_of_either_protocol_generation(
    stack: Stack, replicas: dict[str, Container]
) -> None:
    old = [f"{PROJECT}-mcp-old-{number}" for number in range(REPLICAS)]
    new = [f"{PROJECT}-mcp-new-{number}" for number in range(REPLICAS)]

    def start(name: str) -> None:
        container = stack.start(env=ENV, options=("--name", name, *APPS))
        replicas[name] = container
        container.wait_ready()

    def stop(name: str) -> None:
        replicas[name].docker("stop", "--time", "30")

    found: list[Any] = []

    def load() -> None:
        found.append(stack.client("tests/stack/mcp_load.py", str(CALLS), *old, *new, timeout=200))

    with ThreadPoolExecutor(REPLICAS) as threads:
        list(threads.map(start, old))
        clients = threading.Thread(target=load)
        clients.start()
        # Every replica has answered clients before it is stopped.
        for name in old:
            wait_for(lambda name=name: "POST /mcp 200" in replicas[name].logs(), 60)  # type: ignore[misc]
        list(threads.map(start, new))
        list(threads.map(stop, old))
    clients.join()
    assert found, "mcp_load.py failed"
    (results,) = found

    answered = results["answered"]
    figure("mcp", "three replicas replaced", f"{answered}, {len(results['failures'])} failed")
    assert results["failures"] == []
    assert all(answered[mode] >= CALLS for mode in MODES)
    # Progress arrives as it happens. A busy machine delays a few reports; a buffer would delay two
    # of the three reports of each call.
    assert all(results["late"].get(mode, 0) < answered[mode] * 0.5 for mode in MODES)
    # The calls that never end were cut, and begun again on a replica that stayed.
    assert all(results["streams"][mode] >= 2 for mode in MODES)
    assert set(results["served"]) == {*old, *new}
    for name in old:
        assert replicas[name].inspect()["State"]["ExitCode"] == 0
        records = replicas[name].records()
        assert [each for each in records if each["level"] in ("error", "critical")] == []
        stopped = [each for each in records if each["message"].startswith("Worker exiting")]
        assert len(stopped) == 2


def test_server_passes_the_protocols_conformance_suite(
    stack: Stack, replicas: dict[str, Container]
) -> None:
    if not CONFORMANCE.exists():
        pytest.fail(f"This test needs Node.js 20 or newer, and: {INSTALL}", pytrace=False)
    web = stack.start(env=ENV, options=APPS).wait_ready()
    replicas["judged"] = web
    judge = (str(CONFORMANCE), "server", "--url", f"{web.url}/conformance")
    # Fails for a scenario that fails unexpectedly, and for one that passes unexpectedly.
    expected = ("--expected-failures", str(ROOT / "tests/stack/mcp-conformance.yml"))
    done = subprocess.run(
        [*judge, *expected], cwd=CONFORMANCE.parents[2], capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0
    passed = done.stdout.rpartition("=== SUMMARY ===")[2].count("✓")
    figure("mcp", "conformance suite", f"{passed} scenarios passed")
    assert passed >= 20

"""Benchmarks of the image's size and of a developer's work: builds, starts, reloads and tests."""

from __future__ import annotations

import contextlib
import http.client
import time
import urllib.request
from datetime import datetime
from pathlib import Path

from scripts.bench.clone import RUNS, Clone, MeasureError
from scripts.bench.cpu import seconds_of
from scripts.bench.results import Figure, at_most, ratios
from scripts.stack.engine import wait_for
from scripts.stack.image import (
    MAX_LAYERS,
    MAX_MB,
    MB,
    PYTHON_IMAGE,
    added_layer_sizes,
    cold_recipe,
    layer_sizes,
)

EDITS = 20
# Seconds to wait for an edit to show before the benchmark fails.
EDIT_TIMEOUT = 30


def build_command(clone: Clone, tag: str, *options: str) -> str:
    """Return the shell command that builds the ecs target from the copy."""
    base = clone.env.get("PYTHON_IMAGE", PYTHON_IMAGE)
    bundle = clone.env.get("CA_BUNDLE") or "docker/no-ca-bundle.pem"
    given = f"--secret id=ca_bundle,src='{bundle}' --build-arg PYTHON_IMAGE={base}"
    file = "" if "--file" in options else "--file docker/Dockerfile"
    return f"docker build {given} --target ecs --tag {tag} {file} {' '.join(options)} ."


def image(clone: Clone) -> list[Figure]:
    """Size of the ecs image compared with its base image, as the engine stores them."""
    tag = f"{clone.project}-ecs"
    clone.run("sh", "-c", build_command(clone, tag))
    base = clone.env.get("PYTHON_IMAGE", PYTHON_IMAGE)
    layers = added_layer_sizes(tag, base)
    return [
        Figure("above the base image", "MB", [sum(layers) / MB], at_most(MAX_MB)),
        Figure("layers above the base", "layers", [len(layers)], at_most(MAX_LAYERS)),
        Figure("base image", "MB", [sum(layer_sizes(base)) / MB]),
    ]


def build(clone: Clone) -> list[Figure]:
    """`docker build --target ecs`. A cold build has the base images but no cached layers or
    packages, so it includes download time. The changed source line is at the end of a view.
    """
    tag = f"{clone.project}-cold"
    cold = cold_recipe((clone.folder / "docker/Dockerfile").read_text())
    (clone.folder / "docker/Dockerfile.cold").write_text(cold)
    from_nothing = build_command(clone, tag, "--no-cache", "--file docker/Dockerfile.cold")
    warm = build_command(clone, f"{clone.project}-ecs")
    clone.run("sh", "-c", warm)
    edit = 'echo "# $(head -c 8 /dev/urandom | od -An -tx1)" >>src/home/views.py'
    return [
        Figure(
            "cold",
            "s",
            clone.time(from_nothing, f"docker rmi --force {tag}"),
            at_most(35),
        ),
        Figure("one source line changed", "s", clone.time(warm, edit), at_most(1.5)),
        Figure("nothing changed", "s", clone.time(warm, warmup=1), at_most(0.5)),
    ]


def start(clone: Clone) -> list[Figure]:
    """From the command until it returns, with the page served and the database migrated. The images
    are already built, and no file changes. So `make up` migrates a new volume only; `make
    up-prodlike` always runs migrate, at half a core. Web has half a core too, so what it spends
    until it is ready takes twice as long; most of it is spent on imports.
    """
    clone.make("build")
    ecs = "make up-prodlike"
    return [
        Figure("make up, new volume", "s", clone.time("make up", "make reset"), at_most(4.5)),
        Figure("make up, with volume", "s", clone.time("make up", "make down"), at_most(2.4)),
        Figure("make up, already up", "s", clone.time("make up", warmup=1), at_most(1.0)),
        Figure(f"{ecs}, from dev", "s", clone.time(ecs, "make up"), at_most(5.0)),
        Figure(f"{ecs}, new volume", "s", clone.time(ecs, "make reset"), at_most(5.5)),
        Figure(f"{ecs}, with volume", "s", clone.time(ecs, "make down"), at_most(3.5)),
        Figure("its web", "s CPU", _web_starts(clone)),
    ]


def _web_starts(clone: Clone) -> list[float]:
    """Return what the ecs web spends until `make up-prodlike` returns, in several runs."""
    seconds = []
    for _ in range(RUNS):
        clone.make("down")
        clone.make("up-prodlike")
        web = clone.run("sh", "scripts/compose", "ecs", "ps", "--quiet", "web").strip()
        seconds.append(seconds_of(web))
    return seconds


def reload(clone: Clone) -> list[Figure]:
    """From saving a file on this machine to the first response that shows the edit, polled every
    10 ms; for the worker, until it logs that it has started again. Idle is the processor time of
    the dev web container without traffic, health checks included.
    """
    clone.make("up")
    home = clone.folder / "src/home"
    view = (
        "\n\n_home = home\n\n\ndef home(request):\n    response = _home(request)\n"
        "    response.write('{mark}')\n    return response\n"
    )
    views = _edits(clone, home / "views.py", view)
    template = _edits(clone, clone.folder / "src/templates/base.html", "{mark}")
    return [
        Figure("a view edited", "s", views, at_most(0.6)),
        Figure("a view edited, worst", "s", views, at_most(1.0, by="worst")),
        Figure("a template edited", "s", template, at_most(0.6)),
        Figure("a template edited, worst", "s", template, at_most(1.0, by="worst")),
        Figure("worker started again", "s", _worker_starts(clone), at_most(1.0)),
        Figure("idle, of one core", "%", _idle(clone), at_most(1.0)),
    ]


def _edits(clone: Clone, path: Path, edit: str) -> list[float]:
    original = path.read_text()
    times = []
    for number in range(EDITS):
        mark = f"<!-- edit {number} -->"
        path.write_text(original + edit.replace("{mark}", mark))
        times.append(_until(clone, mark))
        # A person pauses between edits, so let the reload settle.
        time.sleep(0.5)
    path.write_text(original)
    time.sleep(1)
    _until(clone, "<html")
    return times


def _worker_starts(clone: Clone) -> list[float]:
    worker = clone.run("sh", "scripts/compose", "dev", "ps", "--quiet", "worker").strip()

    def starts() -> list[str]:
        lines = clone.run("docker", "logs", "--timestamps", worker).splitlines()
        return [line.split()[0] for line in lines if "worker_started" in line]

    def restart() -> float:
        known, saved = len(starts()), time.time()
        (clone.folder / "src/home/views.py").touch()
        wait_for(lambda: len(starts()) > known, EDIT_TIMEOUT)
        # A person pauses between edits.
        time.sleep(0.5)
        return datetime.fromisoformat(starts()[-1]).timestamp() - saved

    time.sleep(1)
    return [restart() for _ in range(EDITS)]


def _until(clone: Clone, mark: str) -> float:
    start = time.monotonic()
    while time.monotonic() - start < EDIT_TIMEOUT:
        # The server may refuse connections while it reloads.
        with contextlib.suppress(OSError, http.client.HTTPException):
            response = urllib.request.urlopen(f"{clone.url}/", timeout=EDIT_TIMEOUT)  # noqa: S310
            if mark in response.read().decode():
                return time.monotonic() - start
        time.sleep(0.01)
    raise MeasureError(f"The edit did not show within {EDIT_TIMEOUT} s.")


def _idle(clone: Clone) -> list[float]:
    web = clone.run("sh", "scripts/compose", "dev", "ps", "--quiet", "web").strip()
    time.sleep(3)
    shares = []
    for _ in range(5):
        before, start = seconds_of(web), time.monotonic()
        # Long enough for two health checks.
        time.sleep(10)
        shares.append((seconds_of(web) - before) / (time.monotonic() - start) * 100)
    return shares


def tests(clone: Clone) -> list[Figure]:
    """`make test` against PostgreSQL and Redis that already run, with the image built. COVERAGE=1
    measures the lines and branches that run, in all processes.
    """
    one = clone.time("make test T=tests/home/test_home.py", warmup=1)
    whole = clone.time("make test", runs=1)
    measured = clone.time("make test COVERAGE=1", runs=1)
    return [
        Figure("one file", "s", one, at_most(3)),
        Figure("whole suite", "s", whole, at_most(15)),
        Figure("whole suite, COVERAGE=1", "s", measured),
        Figure("COVERAGE=1 / without", "×", ratios(measured, whole)),
    ]

"""What people wait for at their keyboard: images, builds, starts, reloads, tests."""

from __future__ import annotations

import contextlib
import http.client
import re
import time
import urllib.request
from pathlib import Path

from scripts.bench.clone import Clone, MeasureError
from scripts.bench.cpu import seconds_of
from scripts.bench.results import Figure, at_most
from scripts.stack.engine import run

PYTHON_IMAGE = "python:3.13-slim-trixie"
MB = 1e6
EDITS = 20
# Seconds until an edit that does not show counts as never shown.
GIVE_UP = 30


def build_command(clone: Clone, tag: str, *options: str) -> str:
    """Return the command that builds the ecs target in the copy."""
    base = clone.env.get("PYTHON_IMAGE", PYTHON_IMAGE)
    bundle = clone.env.get("CA_BUNDLE") or "docker/no-ca-bundle.pem"
    given = f"--secret id=ca_bundle,src='{bundle}' --build-arg PYTHON_IMAGE={base}"
    file = "" if "--file" in options else "--file docker/Dockerfile"
    return f"docker build {given} --target ecs --tag {tag} {file} {' '.join(options)} ."


def image(clone: Clone) -> list[Figure]:
    """The ecs image against the base image that it is made from, as the engine keeps both."""
    tag = f"{clone.project}-ecs"
    clone.run("sh", "-c", build_command(clone, tag))
    base, ecs = (_layers(name) for name in (clone.env.get("PYTHON_IMAGE", PYTHON_IMAGE), tag))
    above = ecs[: len(ecs) - len(base)]
    # Lines that only set something make no layer.
    layers = [size for size in above if size]
    return [
        Figure("above the base image", "MB", [sum(layers) / MB], at_most(75)),
        Figure("layers above the base", "layers", [len(layers)], at_most(12)),
        Figure("base image", "MB", [sum(base) / MB]),
    ]


def _layers(name: str) -> list[int]:
    listed = run("docker", "history", "--human=false", "--format", "{{.Size}}", name).stdout
    return [int(size) for size in listed.split()]


def build(clone: Clone) -> list[Figure]:
    """`docker build --target ecs`. Cold: base images are present, and nothing else; no layer, and
    no package of an earlier build, so the network counts. The changed line is at the end of a
    view.
    """
    tag = f"{clone.project}-cold"
    recipe = (clone.folder / "docker/Dockerfile").read_text()
    # A cache mount outlives --no-cache.
    cold = re.sub(
        r"--mount=type=cache\S*?,target=([^,\s]+)\S*", r"--mount=type=tmpfs,target=\1", recipe
    )
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
    """From the command to its end, when the page is served and the database migrated. The images
    are built. When all is up already, half of the time is Python's, which imports Django to look
    for migrations; the rest is that of the doctor and of a build that finds nothing to do. Nothing
    is left out: `make up` is what is right after any change.
    """
    clone.make("build")
    return [
        Figure("make up, new volume", "s", clone.time("make up", "make reset"), at_most(4.5)),
        Figure("make up, with volume", "s", clone.time("make up", "make down"), at_most(2.4)),
        Figure("make up, already up", "s", clone.time("make up", warmup=1), at_most(1.0)),
        Figure(
            "make up-prodlike, from dev",
            "s",
            clone.time("make up-prodlike", "make up"),
            at_most(5.0),
        ),
    ]


def reload(clone: Clone) -> list[Figure]:
    """From saving a file on this machine to the first answer that shows the edit, asked every 10
    ms. Idle: the processor time of the dev web container while nobody asks, health checks
    included.
    """
    clone.make("up")
    home = clone.folder / "src/home"
    view = (
        "\n\n_home = home\n\n\ndef home(request):\n    response = _home(request)\n"
        "    response.write('{mark}')\n    return response\n"
    )
    views = _edits(clone, home / "views.py", view)
    template = _edits(clone, home / "templates/base.html", "{mark}")
    return [
        Figure("a view edited", "s", views, at_most(0.6)),
        Figure("a view edited, worst", "s", views, at_most(1.0, by="worst")),
        Figure("a template edited", "s", template, at_most(0.6)),
        Figure("a template edited, worst", "s", template, at_most(1.0, by="worst")),
        Figure("idle, of one core", "%", _idle(clone), at_most(1.0)),
    ]


def _edits(clone: Clone, path: Path, edit: str) -> list[float]:
    original = path.read_text()
    times = []
    for number in range(EDITS):
        mark = f"<!-- edit {number} -->"
        path.write_text(original + edit.replace("{mark}", mark))
        times.append(_until(clone, mark))
        # As a person would: the next edit comes when this one has settled.
        time.sleep(0.5)
    path.write_text(original)
    time.sleep(1)
    _until(clone, "<html")
    return times


def _until(clone: Clone, mark: str) -> float:
    start = time.monotonic()
    while time.monotonic() - start < GIVE_UP:
        # While it reloads nobody may answer.
        with contextlib.suppress(OSError, http.client.HTTPException):
            response = urllib.request.urlopen(f"{clone.url}/", timeout=GIVE_UP)  # noqa: S310
            if mark in response.read().decode():
                return time.monotonic() - start
        time.sleep(0.01)
    raise MeasureError(f"An edit did not show within {GIVE_UP} s.")


def _idle(clone: Clone) -> list[float]:
    web = clone.run("sh", "scripts/compose", "dev", "ps", "--quiet", "web").strip()
    time.sleep(3)
    shares = []
    for _ in range(5):
        before, start = seconds_of(web), time.monotonic()
        # Two health checks.
        time.sleep(10)
        shares.append((seconds_of(web) - before) / (time.monotonic() - start) * 100)
    return shares


def tests(clone: Clone) -> list[Figure]:
    """`make test` against the real PostgreSQL and Redis, which run already, as does the image's
    build. Most of the whole suite's time is that of processes which it starts to see how they end:
    runserver and its reloads, the doctor, commands in broken environments. One after the other the
    tests take 33 s of processor time, so that two cores need 17 s at least.
    """
    one = "make test T=tests/home/test_home.py"
    return [
        Figure("whole suite", "s", clone.time("make test", warmup=1), at_most(10)),
        Figure("one file", "s", clone.time(one, warmup=1), at_most(3)),
    ]

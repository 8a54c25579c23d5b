"""make parity in a project of its own, without and with differences between the targets.

The tests run in order: each starts where the previous one ended.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack.clone import environment
from scripts.stack.engine import PROJECT as STACK
from scripts.stack.engine import ROOT

PROJECT = f"{STACK}-parity"
# Port 0: the engine chooses the ports.
ENVIRONMENT = environment(PROJECT, 0)
SITE_PACKAGES = "/opt/venv/lib/python3*/site-packages"
# A difference of each kind. Changing the image is quicker than changing a copy of the project.
DRIFT = rf"""
FROM {PROJECT}-ecs
USER root
RUN cd {SITE_PACKAGES} \
    && mkdir stray-1.0.dist-info \
    && printf 'Metadata-Version: 2.1\nName: stray\nVersion: 1.0\n' >stray-1.0.dist-info/METADATA \
    && sed -i 's/^Version: .*/Version: 0.0.1/' whitenoise-*.dist-info/METADATA
RUN sed -i 's/^PRETTY_NAME=.*/PRETTY_NAME="Another OS"/' /etc/os-release
RUN sed -i 's/^worker_class = .*/worker_class = "gthread"/' /app/docker/gunicorn.conf.py
RUN cd /app/src \
    && printf '\nX_FRAME_OPTIONS = "SAMEORIGIN"\nMIDDLEWARE.reverse()\n' >>config/settings.py \
    && printf '\nurlpatterns += [path("stray/", admin.site.urls)]\n' >>config/urls.py \
    && printf 'from django.db.migrations import Migration as Base\n' >accounts/migrations/9999.py \
    && printf 'class Migration(Base):\n    dependencies = [("accounts", "0001_initial")]\n' \
        >>accounts/migrations/9999.py
ENV KEEP_ALIVE=61
USER 10001:10001
"""


def run(*command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in the repository. pytest shows its output when the test fails."""
    done = subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, input=stdin, capture_output=True, text=True
    )
    print(f"$ {' '.join(command)}\n{done.stdout[-6000:]}{done.stderr[-3000:]}")
    return done


@pytest.fixture(scope="module", autouse=True)
def project() -> Iterator[None]:
    """Delete the project and its images afterwards."""
    yield
    assert run("make", "reset", "FORCE=1").returncode == 0
    run("docker", "rmi", "--force", f"{PROJECT}-dev", f"{PROJECT}-ecs")


def test_parity_as_first_verb_finds_no_unexpected_difference() -> None:
    """Nothing is built, running or migrated before."""
    done = run("make", "parity")

    assert done.returncode == 0
    assert "No unexpected differences." in done.stdout
    assert "UNEXPECTED" not in done.stdout
    # Facts, expected differences and reasons.
    for text in ("Python 3.", "Debian", "PostgreSQL 18", "ASGI", "only in dev: ", "debug pages"):
        assert text in done.stdout
    for service in ("migrate", "web", "worker"):
        assert f"\n{service:<12} registered: cpu 512, memory 1024" in done.stdout
    # No secret of env/secrets.env or of the local services.
    written = done.stdout + (ROOT / ".local" / "task-definitions.json").read_text()
    for line in (ROOT / "env" / "secrets.env").read_text().splitlines():
        name, _, value = line.partition("=")
        assert not value or name.startswith("#") or value not in written
    assert "methodhub-local" not in written


def test_key_that_fargate_refuses_is_reported(tmp_path: Path) -> None:
    """Compose resolves the keys here; tests/parity tests each rule."""
    overlay = tmp_path / "overlay.json"
    planted = {
        "cap_add": ["NET_ADMIN"],
        "memswap_limit": "2g",
        "ports": ["8080:8000"],
        "privileged": True,
        "storage_opt": {"size": "1G"},
        "volumes": [f"{tmp_path}:/data"],
    }
    overlay.write_text(json.dumps({"services": {"worker": planted}}))
    # The keys of the TLS overlay are in the tables too.
    names = ("compose.base.yml", "compose.ecs-local.yml", "compose.tls.yml", str(overlay))
    files = [word for name in names for word in ("-f", name)]
    config = run("docker", "compose", *files, "config", "--format", "json").stdout

    done = run("sh", "scripts/host-python", "-m", "scripts.parity_task_definition", stdin=config)

    assert done.returncode == 1
    refused = [line.split()[1] for line in done.stdout.splitlines() if "  REFUSED  " in line]
    assert sorted(refused) == [
        "cap_add",
        "memswap_limit",
        "ports.published",
        "privileged",
        "storage_opt.size",
        "volumes",
    ]


def test_unreachable_service_is_reported() -> None:
    run("docker", "stop", "--timeout", "1", f"{PROJECT}-redis-1")

    done = run("sh", "scripts/parity")

    assert done.returncode != 0
    assert "UNEXPECTED  Redis: dev not reachable" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    run("docker", "start", f"{PROJECT}-redis-1")


def test_each_kind_of_difference_is_reported() -> None:
    assert run("docker", "build", "--tag", f"{PROJECT}-ecs", "-", stdin=DRIFT).returncode == 0

    done = run("sh", "scripts/parity")

    assert done.returncode != 0
    reported = {
        line.split("UNEXPECTED  ")[1].split(": dev ")[0]
        for line in done.stdout.splitlines()
        if "UNEXPECTED  " in line
    }
    strays = {name for name in reported if name.startswith("/stray/")}
    assert strays
    assert reported - strays == {
        "OS",
        "stray (only in ecs)",
        "whitenoise",
        "KEEP_ALIVE (only in ecs)",
        "X_FRAME_OPTIONS",
        "MIDDLEWARE in order",
        "accounts.9999 (only in ecs)",
        "interface",
        "server",
    }

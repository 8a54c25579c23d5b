"""What the Compose files say, as Compose itself understands them; nothing is started."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

import pytest

from scripts.stack.engine import ROOT

LAYERINGS = {
    "bare": [],
    "dev": ["-f", "compose.base.yml", "-f", "compose.dev.yml"],
    "ecs": ["-f", "compose.base.yml", "-f", "compose.ecs-local.yml"],
}
# What a developer's shell may hold, and these tests must not see.
OVERRIDES = ("COMPOSE_", "WEB_PORT", "POSTGRES_", "REDIS_", "PYTHON_IMAGE", "NOFILE", "HOST_")


@pytest.fixture(params=LAYERINGS)
def layering(request: pytest.FixtureRequest) -> str:
    """Each way to layer the files."""
    return str(request.param)


def config(layering: str, **environment: str) -> dict[str, Any]:
    """Return what `docker compose config` makes of a layering."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(OVERRIDES)}
    done = subprocess.run(
        ["docker", "compose", *LAYERINGS[layering], "config", "--format", "json"],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "Compose warns"
    # Compose drops the files' anchors (x-…) of what is included.
    return {k: v for k, v in json.loads(done.stdout).items() if not k.startswith("x-")}


def published(layering: str, **environment: str) -> dict[str, dict[str, str]]:
    """Return the published ports by service: container port to host port."""
    return {
        name: {str(port["target"]): port["published"] for port in service.get("ports", [])}
        for name, service in config(layering, **environment)["services"].items()
        if service.get("ports")
    }


def test_the_bare_layering_is_the_dev_one() -> None:
    assert config("bare") == config("dev")


def test_nothing_is_published_beyond_loopback(layering: str) -> None:
    for name, service in config(layering)["services"].items():
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name


def test_ports_and_project_can_be_overridden(layering: str) -> None:
    ports = {"WEB_PORT": "8123", "POSTGRES_PORT": "5123", "REDIS_PORT": "6123"}
    of_clients = {"postgres": {"5432": "5123"}, "redis": {"6379": "6123"}}
    expected = {"web": {"8000": "8123"}} | ({} if layering == "ecs" else of_clients)
    assert published(layering, **ports) == expected
    other = config(layering, COMPOSE_PROJECT_NAME="other")
    assert other["name"] == "other"
    assert other["services"]["web"]["image"].startswith("other-")
    assert other["volumes"]["postgres-data"]["name"] == "other_postgres-data"


def test_default_ports(layering: str) -> None:
    of_clients = {"postgres": {"5432": "5432"}, "redis": {"6379": "6379"}}
    assert published(layering) == {"web": {"8000": "8000"}} | (
        {} if layering == "ecs" else of_clients
    )


def test_both_targets_share_services_and_data() -> None:
    dev, ecs = config("dev"), config("ecs")
    assert dev["volumes"] == ecs["volumes"]
    for name in ("postgres", "redis"):
        dev["services"][name].pop("ports")
        assert dev["services"][name] == ecs["services"][name]


def test_the_ecs_target_mounts_no_code() -> None:
    assert "volumes" not in config("ecs")["services"]["web"]


def test_web_waits_for_healthy_services_and_for_migrate(layering: str) -> None:
    waits = config(layering)["services"]["web"]["depends_on"]
    assert {name: wait["condition"] for name, wait in waits.items()} == {
        "postgres": "service_healthy",
        "redis": "service_healthy",
        "migrate": "service_completed_successfully",
    }


def test_images_can_come_from_a_mirror(layering: str) -> None:
    images = {
        "PYTHON_IMAGE": "mirror.example/python:3.13",
        "POSTGRES_IMAGE": "mirror.example/postgres:18",
        "REDIS_IMAGE": "mirror.example/redis:8",
    }
    services = config(layering, **images)["services"]
    assert services["web"]["build"]["args"]["PYTHON_IMAGE"] == images["PYTHON_IMAGE"]
    assert services["postgres"]["image"] == images["POSTGRES_IMAGE"]
    assert services["redis"]["image"] == images["REDIS_IMAGE"]


def test_committed_env_files_hold_only_local_credentials() -> None:
    files = subprocess.run(
        ["git", "ls-files", "env", ".env*"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "env/secrets.env" not in files
    secret = re.compile(r"^(\w*(?:SECRET|PASSWORD|_URL|TOKEN)\w*)=(.+)$", re.M)
    for file in files:
        for name, value in secret.findall((ROOT / file).read_text()):
            local = (
                value.startswith("django-insecure-")
                or re.search(r"@postgres:|//redis:|-local$", value)
                or (file == "env/dev.env" and name == "DJANGO_SUPERUSER_PASSWORD")
            )
            assert local, f"{name} in {file}"

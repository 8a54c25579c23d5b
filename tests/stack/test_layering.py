"""The configuration that Compose builds from the layered files, and the order of the services."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.stack.engine import PROJECT, ROOT, Stack, run

LAYERINGS = {
    "bare": [],
    "dev": ["-f", "compose.base.yml", "-f", "compose.dev.yml"],
    "ecs": ["-f", "compose.base.yml", "-f", "compose.ecs-local.yml"],
}
LAYERINGS["ecs-tls"] = [*LAYERINGS["ecs"], "-f", "compose.tls.yml"]
# Variables of the developer's shell that must not reach these tests.
OVERRIDES = (
    "COMPOSE_",
    "WEB_PORT",
    "POSTGRES_",
    "REDIS_",
    "PYTHON_",
    "PLATFORM",
    "NOFILE",
    "HOST_",
)
# An empty variable selects the default, whatever the developer's .env says.
NO_PORTS = {"WEB_PORT": "", "POSTGRES_PORT": "", "REDIS_PORT": ""}


@pytest.fixture(params=LAYERINGS)
def layering(request: pytest.FixtureRequest) -> str:
    """Each layering of the Compose files."""
    return str(request.param)


def config(layering: str, **environment: str) -> dict[str, Any]:
    """Return a layering as `docker compose config` resolves it."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(OVERRIDES)} | NO_PORTS
    done = subprocess.run(
        ["docker", "compose", *LAYERINGS[layering], "config", "--format", "json"],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "Compose prints a warning"
    # Compose drops the anchors (x-…) of included files.
    return {k: v for k, v in json.loads(done.stdout).items() if not k.startswith("x-")}


def published(layering: str, **environment: str) -> dict[str, dict[str, str]]:
    """Return each service's published ports, from container port to host port."""
    return {
        name: {str(port["target"]): port["published"] for port in service.get("ports", [])}
        for name, service in config(layering, **environment)["services"].items()
        if service.get("ports")
    }


def test_bare_compose_runs_the_dev_layering() -> None:
    assert config("bare") == config("dev")


def test_ports_are_published_on_loopback_only(layering: str) -> None:
    for name, service in config(layering)["services"].items():
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name


def test_ports_and_project_can_be_overridden(layering: str) -> None:
    ports = {"WEB_PORT": "8123", "POSTGRES_PORT": "5123", "REDIS_PORT": "6123"}
    database_ports = {"postgres": {"5432": "5123"}, "redis": {"6379": "6123"}}
    expected = {"web": {"8000": "8123"}} | ({} if layering.startswith("ecs") else database_ports)
    assert published(layering, **ports) == expected
    other = config(layering, COMPOSE_PROJECT_NAME="other")
    assert other["name"] == "other"
    assert other["services"]["web"]["image"].startswith("other-")
    assert other["volumes"]["postgres-data"]["name"] == "other_postgres-data"


def test_default_ports_are_published(layering: str) -> None:
    database_ports = {"postgres": {"5432": "5432"}, "redis": {"6379": "6379"}}
    assert published(layering) == {"web": {"8000": "8000"}} | (
        {} if layering.startswith("ecs") else database_ports
    )


def test_both_targets_share_services_and_data() -> None:
    dev, ecs = config("dev"), config("ecs")
    assert dev["volumes"] == ecs["volumes"]
    for name in ("postgres", "redis"):
        # Docker publishes no port of an internal network.
        dev["services"][name].pop("ports")
        dev["services"][name]["networks"].pop("published")
        assert dev["services"][name] == ecs["services"][name]


def test_worker_runs_the_image_and_environment_of_web(layering: str) -> None:
    """make parity compares the targets in web's containers, so its result holds for the worker."""
    services = config(layering)["services"]
    web, worker = services["web"], services["worker"]
    for name in ("SITE_URL", "REPLICAS"):
        web["environment"].pop(name, None)
    for key in ("image", "environment", "networks", "secrets", "volumes", "user", "labels"):
        assert worker.get(key) == web.get(key), key


def test_workers_of_both_targets_differ_only_in_reload() -> None:
    dev, ecs = (config(target)["services"]["worker"] for target in ("dev", "ecs"))
    assert [word for word in dev["command"] if word != "--reload"] == ecs["command"]
    for key in ("healthcheck", "depends_on", "restart", "init"):
        assert dev[key] == ecs[key], key


@pytest.mark.parametrize("broken", ["postgres", "redis", "migrate"])
def test_web_does_not_start_if_a_dependency_fails(
    broken: str, images: Stack, tmp_path: Path
) -> None:
    project = f"{PROJECT}-order"
    unhealthy = {"test": ["CMD", "false"], "interval": "1s", "start_period": "0s", "retries": 1}
    services: dict[str, dict[str, Any]] = {
        "web": {"image": f"{PROJECT}-ecs"},
        "migrate": {"image": f"{PROJECT}-ecs", "command": ["true"]},
        "postgres": {},
        "redis": {},
    }
    if broken == "migrate":
        services[broken]["command"] = ["false"]
    else:
        services[broken]["healthcheck"] = unhealthy
    overlay = tmp_path / "overlay.json"
    overlay.write_text(json.dumps({"services": services}))
    compose = ("docker", "compose", *LAYERINGS["ecs"], "-f", str(overlay))
    environment = {"COMPOSE_PROJECT_NAME": project, "WEB_PORT": "0"}
    try:
        up = run(*compose, "up", "--detach", "web", env=environment, check=False)
        assert up.returncode != 0
        states = run(
            *compose, "ps", "--all", "--format", "{{.Service}} {{.State}}", env=environment
        )
        assert "web created" in states.stdout.splitlines()
    finally:
        run(*compose, "down", "--volumes", "--timeout", "1", env=environment)


SERVE_FILE = 'cd /tmp && touch "$0" && { python -m http.server 8000 & } && sleep 2 && exec "$@"'


@pytest.mark.parametrize(("path", "healthy"), [("livez", True), ("other", False)])
def test_health_check_of_web_requires_status_200(path: str, healthy: bool, images: Stack) -> None:
    check = config("ecs")["services"]["web"]["healthcheck"]["test"][1:]
    command = ("docker", "run", "--rm", f"{PROJECT}-ecs", "sh", "-c", SERVE_FILE, path, *check)
    assert (run(*command, check=False).returncode == 0) == healthy
    silent = run("docker", "run", "--rm", f"{PROJECT}-ecs", *check, check=False)
    assert silent.returncode != 0


def test_images_can_be_overridden(layering: str) -> None:
    images = {
        "PYTHON_IMAGE": "mirror.example/python:3.13",
        "POSTGRES_IMAGE": "mirror.example/postgres:18",
        "REDIS_IMAGE": "mirror.example/redis:8",
    }
    services = config(layering, **images)["services"]
    assert services["web"]["build"]["args"]["PYTHON_IMAGE"] == images["PYTHON_IMAGE"]
    assert services["postgres"]["image"] == images["POSTGRES_IMAGE"]
    assert services["redis"]["image"] == images["REDIS_IMAGE"]


def test_platform_applies_to_our_own_images_only(layering: str) -> None:
    def platforms(**environment: str) -> dict[str, str | None]:
        services = config(layering, **environment)["services"]
        return {name: service.get("platform") for name, service in services.items()}

    arm = "linux/arm64"
    ours = {"web": arm, "worker": arm, "migrate": arm}
    assert platforms(PLATFORM=arm) == {"postgres": None, "redis": None} | ours
    assert set(platforms().values()) == {None}


def test_committed_env_files_contain_only_local_credentials() -> None:
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

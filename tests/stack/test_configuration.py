"""Containers with an invalid environment exit with the contract's table of problems."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack import engine
from scripts.stack.clone import Clone
from scripts.stack.engine import PROJECT, Stack

COMPOSE = ("docker", "compose", "-f", "compose.base.yml", "-f", "compose.ecs-local.yml")


@pytest.fixture
def clone(images: Stack, tmp_path: Path) -> Iterator[Clone]:
    """A fresh clone, without env/secrets.env, that has the ecs image."""
    clone = Clone(tmp_path / "methodhub", f"{PROJECT}-configuration", 0)
    engine.run("docker", "tag", f"{PROJECT}-ecs", f"{clone.project}-ecs")
    yield clone
    clone.run(*COMPOSE, "down", "--volumes")
    engine.run("docker", "rmi", "--force", f"{clone.project}-ecs")


def test_missing_secrets_file_is_reported_by_the_contract(clone: Clone) -> None:
    assert clone.run(*COMPOSE, "up", "--detach").returncode != 0
    logs = clone.run(*COMPOSE, "logs", "--no-log-prefix", "migrate").stdout
    web = clone.run(*COMPOSE, "run", "--rm", "--no-deps", "web")
    assert web.returncode == 78
    for printed in (logs, web.stderr + web.stdout):
        assert "The environment has 1 problem; nothing was started." in printed
        (row,) = [line for line in printed.splitlines() if line.startswith("SECRET_KEY ")]
        assert "Not set." in row
        assert "env/secrets.env, or the task definition" in row
        assert "Traceback" not in printed


def test_ecs_target_behind_tls_needs_proxy_count(images: Stack) -> None:
    container = images.start(env={"TLS_IN_FRONT": "true"})
    try:
        assert engine.run("docker", "wait", container.id).stdout.strip() == "78"
        assert "TRUSTED_PROXY_COUNT  Not set, while TLS_IN_FRONT is on" in container.logs()
    finally:
        container.remove()

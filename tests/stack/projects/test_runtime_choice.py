"""An engine that answers but cannot get a base image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack.engine import PROJECT
from tests.host.clone import Clone

# No registry can have this name: RFC 6761.
MISSING = "registry.invalid/postgres:18"


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    clone = Clone(tmp_path / "clone")
    yield clone
    clone.make("down")


def make(clone: Clone, *words: str) -> str:
    """Run make without a forced runtime.

    The Compose project is one without containers: a running stack would keep the docker runtime.
    """
    project = f"{PROJECT}-choice"
    return clone.make(*words, RUNTIME="", POSTGRES_IMAGE=MISSING, COMPOSE_PROJECT_NAME=project)


def test_up_falls_back_to_the_host_and_other_verbs_follow(clone: Clone) -> None:
    said = make(clone, "up")
    assert f"Runtime: host (the engine has no {MISSING}, and no registry offers it)." in said
    assert clone.get("/livez")[0] == 200
    assert "web       running" in make(clone, "ps")
    assert " passed" in make(clone, "test", "T=tests/probes")
    assert "web       stopped" in make(clone, "down")

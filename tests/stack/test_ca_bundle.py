"""A build on a network that inspects TLS: only CA_BUNDLE makes it trust what it meets."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack.engine import PROJECT, run

IMAGE = f"{PROJECT}-trusts-nobody"
# On such a network nothing answers with a certificate that the base image knows. New every time:
# a build that once succeeded on the same base would come from the engine's cache.
DOCKERFILE = f"""
FROM python:3.13-slim-trixie
RUN touch /none.pem && echo {uuid.uuid4()} >/new
ENV SSL_CERT_FILE=/none.pem PIP_CERT=/none.pem
"""


@pytest.fixture
def mistrustful() -> Iterator[str]:
    """A base image without a certificate authority."""
    run("docker", "build", "--quiet", "--tag", IMAGE, "-", input=DOCKERFILE)
    yield IMAGE
    run("docker", "rmi", "--force", IMAGE, f"{PROJECT}-ca-dev", f"{PROJECT}-ca-ecs")


def test_a_build_needs_and_takes_the_bundle(mistrustful: str) -> None:
    environment = {
        "RUNTIME": "docker",
        "COMPOSE_PROJECT_NAME": f"{PROJECT}-ca",
        "PYTHON_IMAGE": mistrustful,
        "MAKEFLAGS": "",
    }
    without = run("make", "build", env=environment, check=False)
    assert without.returncode != 0
    assert "CA_BUNDLE=" in without.stdout + without.stderr

    bundle = ssl.get_default_verify_paths().cafile
    assert bundle
    run("make", "build", env=environment | {"CA_BUNDLE": bundle})
    # Debian's bundle ends so; a layer with it would be found by this.
    certificate = Path(bundle).read_text().split("-----")[2].split()[0]
    where = ("sh", "-c", f"grep -rlF {certificate} /app /opt /run /tmp /root 2>/dev/null | wc -l")
    assert run("docker", "run", "--rm", f"{PROJECT}-ca-ecs", *where).stdout.strip() == "0"

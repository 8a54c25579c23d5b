"""Building the images on a network that inspects TLS, with CA_BUNDLE."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack.engine import PROJECT, run

IMAGE = f"{PROJECT}-trusts-nobody"
# The image trusts no certificate, so that every download fails as on such a network. The new UUID
# keeps the build from using the cache.
DOCKERFILE = f"""
FROM python:3.13-slim-trixie
RUN touch /none.pem && echo {uuid.uuid4()} >/new
ENV SSL_CERT_FILE=/none.pem PIP_CERT=/none.pem
"""


@pytest.fixture
def base_image_without_certificates() -> Iterator[str]:
    """A base image that trusts no certificate authority."""
    run("docker", "build", "--quiet", "--tag", IMAGE, "-", input=DOCKERFILE)
    yield IMAGE
    run("docker", "rmi", "--force", IMAGE, f"{PROJECT}-ca-dev", f"{PROJECT}-ca-ecs")


def test_build_fails_without_ca_bundle_and_succeeds_with_it(
    base_image_without_certificates: str,
) -> None:
    environment = {
        "RUNTIME": "docker",
        "COMPOSE_PROJECT_NAME": f"{PROJECT}-ca",
        "PYTHON_IMAGE": base_image_without_certificates,
        "MAKEFLAGS": "",
    }
    without = run("make", "build", env=environment, check=False)
    assert without.returncode != 0
    assert "CA_BUNDLE=" in without.stdout + without.stderr

    bundle = ssl.get_default_verify_paths().cafile
    assert bundle
    run("make", "build", env=environment | {"CA_BUNDLE": bundle})
    # The bundle must not be in the image. The package certifi has the same public certificates.
    certificate = Path(bundle).read_text().split("-----")[2].split()[0]
    find = f"grep -rlF --exclude-dir=certifi {certificate} /app /opt /run /tmp /root 2>/dev/null"
    where = ("sh", "-c", f"{find} | wc -l")
    assert run("docker", "run", "--rm", f"{PROJECT}-ca-ecs", *where).stdout.strip() == "0"

"""Building the images on a network that inspects TLS, with CA_BUNDLE."""

from __future__ import annotations

import re
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack.clone import Clone
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
    base_image_without_certificates: str, tmp_path: Path
) -> None:
    clone = Clone(tmp_path / "methodhub", f"{PROJECT}-ca", 0)
    # Compiling takes most of a build's time, and downloads nothing. psycopg-c is downloaded as the
    # other packages are.
    for file in (clone.folder / "requirements").glob("*.txt"):
        file.write_text(re.sub(r"^psycopg-c==.*\n( .*\n)+", "", file.read_text(), flags=re.M))
    for compiling, instead in (
        ("gcc libc6-dev libpq-dev", "binutils libpq5"),
        ("python -m compileall -q -j 0", ":"),
        (" UV_COMPILE_BYTECODE=1", ""),
    ):
        clone.replace("docker/Dockerfile", compiling, instead)
    build = ("make", "build", f"PYTHON_IMAGE={base_image_without_certificates}")
    without = clone.run(*build)
    assert without.returncode != 0
    assert "CA_BUNDLE=" in without.stdout + without.stderr

    bundle = ssl.get_default_verify_paths().cafile
    assert bundle
    assert clone.run(*build, f"CA_BUNDLE={bundle}").returncode == 0
    # The bundle must not be in the image. The package certifi has the same public certificates.
    certificate = Path(bundle).read_text().split("-----")[2].split()[0]
    find = f"grep -rlF --exclude-dir=certifi {certificate} /app /opt /run /tmp /root 2>/dev/null"
    where = ("sh", "-c", f"{find} | wc -l")
    assert run("docker", "run", "--rm", f"{PROJECT}-ca-ecs", *where).stdout.strip() == "0"

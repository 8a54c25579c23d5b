"""The size and the content of the layers of the ecs image."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from scripts.stack.engine import PROJECT, ROOT, Stack, run
from scripts.stack.image import (
    MAX_LAYERS,
    MAX_MB,
    MAX_MCP_MB,
    MB,
    added_layer_sizes,
    added_layers,
    mcp_layer_size,
)

CANARY = "canary-of-the-build-context"
IMAGE = f"{PROJECT}-content"
# File names that no layer of our own may contain. The base image's layers are not checked.
FORBIDDEN_NAMES = {
    *(".env", ".git", "secrets.env", "tests", "uv", "uvx"),
    *("gcc", "cc", "cpp", "g++", "ld", "make", "libpq-dev"),
}
FORBIDDEN_SUFFIXES = {".map", ".pem.key", ".a", ".h"}


@pytest.fixture(scope="module")
def content(images: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    """Every file of the layers that our Dockerfile adds, deleted ones included, by path.

    The build context is a copy of the project with canaries where a careless Dockerfile would copy
    them into the image.
    """
    context = tmp_path_factory.mktemp("context") / "methodhub"
    ignored = shutil.ignore_patterns(".git", ".local", "__pycache__", ".env")
    shutil.copytree(ROOT, context, ignore=ignored)
    for name in (
        ".env",
        "env/secrets.env",
        ".git/config",
        "tests/canary.py",
        "src/.env",
        "src/.git/config",
        "src/config/secrets.env",
        "src/home/tests/canary.py",
    ):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(f"SECRET_KEY={CANARY}\n")
    built = (
        *("--target", "ecs", "--file", str(context / "docker/Dockerfile")),
        *("--build-arg", "MCP_HUB=true"),
    )
    run("docker", "build", "--quiet", *built, "--tag", IMAGE, str(context))

    folder = tmp_path_factory.mktemp("saved")
    files = {}
    for number, layer in added_layers(IMAGE, folder):
        for member in layer:
            stream = layer.extractfile(member) if member.isfile() else None
            files[f"{number}:/{member.name}"] = stream.read() if stream else b""
    yield files
    run("docker", "rmi", "--force", IMAGE)


def over_budget(image: str) -> list[str]:
    """Return a sentence for each limit that the image exceeds."""
    layers, mcp = added_layer_sizes(image), mcp_layer_size(image)
    found = []
    if (size := (sum(layers) - mcp) / MB) > MAX_MB:
        found.append(f"{image} adds {size:.1f} MB to its base image; the limit is {MAX_MB} MB.")
    if (size := mcp / MB) > MAX_MCP_MB:
        found.append(f"The MCP server adds {size:.1f} MB to {image}; the limit is {MAX_MCP_MB} MB.")
    if len(layers) > MAX_LAYERS:
        found.append(f"{image} adds {len(layers)} layers; the limit is {MAX_LAYERS}.")
    return found


def test_image_is_within_its_budget(images: Stack) -> None:
    assert over_budget(f"{PROJECT}-ecs") == [], "`docker history` lists the size of each layer."


def test_layer_larger_than_the_rest_of_the_budget_is_reported(images: Stack) -> None:
    image = f"{PROJECT}-large"
    built = f"{PROJECT}-ecs"
    rest = MAX_MB * MB - sum(added_layer_sizes(built)) + mcp_layer_size(built)
    recipe = f"FROM {PROJECT}-ecs\nUSER 0\nRUN head -c {rest + MB:.0f} /dev/zero >/large\n"
    run("docker", "build", "--quiet", "--tag", image, "-", input=recipe)
    try:
        assert over_budget(image) == [
            f"{image} adds {MAX_MB + 1:.1f} MB to its base image; the limit is {MAX_MB} MB."
        ]
    finally:
        run("docker", "rmi", "--force", image)


def test_no_layer_contains_a_canary_of_the_context(content: dict[str, bytes]) -> None:
    assert len(content) > 1000
    assert [name for name, data in content.items() if CANARY.encode() in data] == []


def test_no_layer_contains_a_forbidden_file(content: dict[str, bytes]) -> None:
    found = [
        name
        for name in content
        if FORBIDDEN_NAMES & set(PurePosixPath(name.partition(":")[2]).parts)
        # The cffi package contains its own headers. Nothing else may contain any.
        or (PurePosixPath(name).suffix in FORBIDDEN_SUFFIXES and "/site-packages/cffi/" not in name)
        or "/.cache/" in name
    ]
    assert found == []


def test_no_static_file_names_a_source_map(content: dict[str, bytes]) -> None:
    scripts = {name: data for name, data in content.items() if name.endswith((".js", ".css"))}
    assert scripts
    assert [name for name, data in scripts.items() if b"sourceMappingURL=" in data] == []


def test_no_layer_contains_a_dev_package(content: dict[str, bytes]) -> None:
    def names(lock: str) -> set[str]:
        lines = (ROOT / "requirements" / lock).read_text().splitlines()
        return {line.partition("==")[0] for line in lines if line[:1].isalpha()}

    dev = {name.replace("-", "_") for name in names("dev.txt") - names("mcp.txt")}
    installed = {
        PurePosixPath(name).parent.name.partition("-")[0].lower()
        for name in content
        if name.endswith(".dist-info/METADATA")
    }
    assert "django" in installed
    assert installed & dev == set()


def test_history_and_configuration_contain_no_secret(content: dict[str, bytes]) -> None:
    assert content
    history = run("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", IMAGE).stdout
    configuration = json.dumps(json.loads(run("docker", "inspect", IMAGE).stdout)[0]["Config"])
    for text in (history, configuration):
        for word in ("SECRET_KEY", "PASSWORD", "DATABASE_URL", CANARY):
            assert word not in text


def test_bill_of_materials_lists_the_packages_of_the_image(content: dict[str, bytes]) -> None:
    document = json.loads(
        run("make", "--no-print-directory", "sbom", env={"RUNTIME": "docker"}).stdout
    )
    assert document["bomFormat"] == "CycloneDX"
    listed = {
        part["name"].lower().replace("_", "-"): part["version"] for part in document["components"]
    }
    installed = {}
    for name, data in content.items():
        if name.endswith(".dist-info/METADATA"):
            fields = dict(
                line.split(": ", 1)
                for line in data.decode().split("\n\n")[0].splitlines()
                if line.startswith(("Name: ", "Version: "))
            )
            installed[fields["Name"].lower().replace("_", "-")] = fields["Version"]
    assert listed["django"].startswith("6.1.")
    assert listed == installed


def test_no_process_compiles_modules_at_its_start(images: Stack) -> None:
    # All that web, the worker and migrate import.
    modules = "config.asgi, gunicorn.app.wsgiapp, serving.gunicorn_worker, django_ox.worker"
    image = ("--env", "BUILD=true", "--env", "MCP_HUB=true", f"{PROJECT}-ecs")
    log = run("docker", "run", "--rm", *image, "python", "-v", "-c", f"import {modules}").stderr
    assert "/site-packages/mcp/" in log
    # A quoted path is that of bytecode.
    assert re.findall(r"^# code object from ([^']+)$", log, flags=re.MULTILINE) == []

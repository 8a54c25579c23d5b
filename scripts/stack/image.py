"""The ecs image: its size, the limits of its size, and the files of its layers."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from scripts.stack.engine import run

PYTHON_IMAGE = os.environ.get("PYTHON_IMAGE") or "python:3.13-slim-trixie"
MB = 1e6
# Limits for what the Dockerfile adds to the base image. Every deployment pulls these layers. The
# layer of the MCP server, which only some deployments have, has a limit of its own.
MAX_MB = 75
MAX_MCP_MB = 45
MAX_LAYERS = 12


def pull_if_absent(image: str) -> None:
    """Pull an image that the engine does not list, such as the base image of a build."""
    if run("docker", "image", "inspect", image, check=False).returncode:
        run("docker", "pull", image)


def layer_sizes(image: str) -> list[int]:
    """Return the bytes that each instruction added, newest first; zero if it set metadata only."""
    listed = run("docker", "history", "--human=false", "--format", "{{.Size}}", image).stdout
    return [int(size) for size in listed.split()]


def added_layer_sizes(image: str, base: str = PYTHON_IMAGE) -> list[int]:
    """Return the bytes of each layer that ``image`` adds to ``base``, newest first."""
    pull_if_absent(base)
    sizes = layer_sizes(image)
    added = sizes[: len(sizes) - len(layer_sizes(base))]
    return [size for size in added if size]


def mcp_layer_size(image: str) -> int:
    """Return the bytes of the layer with the packages of the MCP server."""
    listed = run(
        *("docker", "history", "--human=false", "--no-trunc"),
        *("--format", "{{.Size}} {{.CreatedBy}}", image),
    ).stdout
    (line,) = (line for line in listed.splitlines() if "/opt/mcp" in line)
    return int(line.split()[0])


def added_layers(image: str, folder: Path) -> Iterator[tuple[int, tarfile.TarFile]]:
    """Yield the number and the archive of each layer above the base image, oldest first.

    The image is saved in ``folder``.
    """
    pull_if_absent(PYTHON_IMAGE)
    base = json.loads(run("docker", "inspect", PYTHON_IMAGE).stdout)[0]
    known = len(base["RootFS"]["Layers"])
    saved = folder / "image.tar"
    run("docker", "save", "--output", str(saved), image)
    with tarfile.open(saved) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest
        names = json.load(manifest)[0]["Layers"]
        for number, name in enumerate(names[known:], known):
            with tarfile.open(fileobj=archive.extractfile(name)) as layer:
                yield number, layer


def cold_recipe(recipe: str) -> str:
    """Return the Dockerfile with empty caches: cache mounts survive --no-cache."""
    return re.sub(
        r"--mount=type=cache\S*?,target=([^,\s]+)\S*", r"--mount=type=tmpfs,target=\1", recipe
    )

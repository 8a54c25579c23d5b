"""Build the ecs image of the last commit twice from nothing, and compare every file of the results.

`make reproducible` runs this. Two builds may differ for these reasons only:

- The engine records when a file was made. An exporter with `rewrite-timestamp=true` records
  SOURCE_DATE_EPOCH instead; the engine's own exporter has no such option.
- Bytecode contains the modification time of its source.
- Debian published an update of a package between the builds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.stack.engine import PROJECT, ROOT, run
from scripts.stack.image import PYTHON_IMAGE, added_layers, cold_recipe

COLD = "docker/Dockerfile.cold"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One file of a layer, as the layer's archive records it."""

    kind: bytes
    mode: int
    owner: tuple[int, int]
    link: str
    content: str
    modified: float


def build(tag: str, epoch: str, folder: Path) -> None:
    """Build the committed files in ``folder``, without any cache."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    recipe = folder / COLD
    recipe.write_text(cold_recipe((folder / "docker/Dockerfile").read_text()))
    bundle = os.environ.get("CA_BUNDLE") or str(folder / "docker/no-ca-bundle.pem")
    arguments = {"SOURCE_DATE_EPOCH": epoch, "PYTHON_IMAGE": PYTHON_IMAGE, "MCP_HUB": "true"}
    run(
        *("docker", "build", "--quiet", "--no-cache", "--target", "ecs", "--tag", tag),
        *(f"--build-arg={name}={value}" for name, value in arguments.items()),
        *("--secret", f"id=ca_bundle,src={bundle}", "--file", str(recipe), str(folder)),
    )


def entries(layer: tarfile.TarFile) -> Iterator[tuple[str, Entry]]:
    """Yield the path and the record of each file in a layer."""
    for member in layer:
        stream = layer.extractfile(member) if member.isfile() else None
        data = stream.read() if stream else b""
        if member.name.endswith(".pyc"):
            # https://peps.python.org/pep-0552/
            data = data[:8] + data[12:]
        yield (
            f"/{member.name}",
            Entry(
                member.type,
                member.mode,
                (member.uid, member.gid),
                member.linkname,
                hashlib.sha256(data).hexdigest(),
                member.mtime,
            ),
        )


def files(image: str) -> dict[str, Entry]:
    """Return the files of the layers above the base image, by number of the layer and path."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            f"layer {number}: {path}": entry
            for number, layer in added_layers(image, Path(folder))
            for path, entry in entries(layer)
        }


def differences(one: dict[str, Entry], other: dict[str, Entry], epoch: float) -> list[str]:
    """Return a line for each file that differs; times after ``epoch`` do not count."""
    found = []
    for name in sorted(one.keys() | other.keys()):
        first, second = one.get(name), other.get(name)
        if first is None or second is None:
            found.append(f"{name}: in one image only")
            continue
        changed = [
            field.name
            for field in dataclasses.fields(Entry)
            if getattr(first, field.name) != getattr(second, field.name)
        ]
        if changed == ["modified"] and min(first.modified, second.modified) >= epoch:
            continue
        if changed:
            found.append(f"{name}: {', '.join(changed)}")
    return found


def main() -> int:
    """Build twice and report; return 1 if the images differ."""
    commit = run("git", "show", "--no-patch", "--format=%h %ct", "HEAD").stdout.split()
    tags = [f"{PROJECT}-reproduced-{number}" for number in (1, 2)]
    try:
        for tag in tags:
            folder = Path(tempfile.mkdtemp())
            try:
                build(tag, commit[1], folder)
            finally:
                shutil.rmtree(folder)
        one, other = map(files, tags)
    finally:
        run("docker", "rmi", "--force", *tags)
    found = differences(one, other, float(commit[1]))
    for line in found:
        print(line)
    if found:
        print(f"Two builds of commit {commit[0]} differ in {len(found)} files.", file=sys.stderr)
        return 1
    later = sum(one[name].modified != other[name].modified for name in one)
    print(
        f"Two builds of commit {commit[0]} have the same {len(one)} files. "
        f"{later} modification times are those of the build."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The files that are generated from the contract."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from environment.contract import CONTRACT
from environment.declaration import TARGETS

ROOT = Path(__file__).resolve().parents[2]
GENERATED = re.compile(
    r"(?<=<!-- environment: begin -->\n).*?(?=<!-- environment: end -->)", re.DOTALL
)


def documents() -> dict[Path, str]:
    """Return each file's path and content; raises OSError outside of a clone."""
    page = ROOT / "docs/configuration.md"
    text = page.read_text(encoding="utf-8")
    return {
        page: GENERATED.sub(lambda _match: markdown_table(), text),
        ROOT / "env/secrets.env.example": secrets_example(),
        ROOT / "env/variables.tsv": variables_file(),
    }


def as_text(value: Any) -> str:
    """Return a value as an environment file would hold it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(value)
    return "" if value is None else str(value)


def markdown_table() -> str:
    lines = ["| Variable | Value | Default | Meaning |", "| --- | --- | --- | --- |"]
    for entry in CONTRACT.values():
        if entry.required_in:
            default = "*required*" if len(entry.required_in) > 1 else "*required in ecs*"
        else:
            default = f"`{as_text(entry.default)}`" if entry.default not in (None, []) else ""
        value = entry.expected + (" (secret)" if entry.secret else "")
        lines.append(f"| `{entry.name}` | {value} | {default} | {entry.meaning} |")
    return "\n".join(lines) + "\n"


def variables_file() -> str:
    """Return the contract as tab-separated text, for shell scripts; no cell is empty."""
    lines = [
        "# The environment contract for shell scripts, written by `manage.py env --write`.",
        "# name\tplace\tsecret\trequired\tvalue",
    ]
    for entry in CONTRACT.values():
        required = {0: "-", 1: "ecs", len(TARGETS): "all"}[len(entry.required_in)]
        secret = "secret" if entry.secret else "-"
        lines.append("\t".join([entry.name, entry.place, secret, required, entry.expected]))
    return "\n".join(lines) + "\n"


def secrets_example() -> str:
    """Return the example of env/secrets.env; optional variables are commented out."""
    lines = [
        "# make copies this file to env/secrets.env and generates the key. The copy holds what a",
        "# task definition's `secrets` would inject; git ignores it, and make never overwrites it.",
        "# Put values that contain $ or # in single quotes.",
    ]
    for entry in CONTRACT.values():
        if entry.place == "secrets":
            mark = "" if entry.required_in else "# "
            lines += ["", f"# {entry.meaning} ({entry.expected})", f"{mark}{entry.name}="]
    return "\n".join(lines) + "\n"

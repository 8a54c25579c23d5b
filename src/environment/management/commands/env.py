"""Print the environment contract, and what this process's environment makes of it."""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from environment.contract import (
    CONTRACT,
    EX_CONFIG,
    TARGETS,
    Place,
    Reading,
    Variable,
    columns,
    read_environment,
    table,
)

ROOT = Path(__file__).resolve().parents[4]
README_TABLE = re.compile(
    r"(?<=<!-- environment: begin -->\n).*?(?=<!-- environment: end -->)", re.DOTALL
)


class Command(BaseCommand):
    """Print each variable's value, the place it came from, and its meaning.

    It needs no settings (see manage.py), so it also works where nothing else starts; then it
    exits with status 78 as everything does, after the table of what is wrong.
    """

    help = "Print the environment contract, and where each value came from; never a secret."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --json and --write, one or the other."""
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="one JSON object, for machines")
        form.add_argument(
            "--write",
            action="store_true",
            help="write the contract into README.md, env/*.env.example and env/variables.tsv",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Print, or write.

        Raises CommandError where there is no repository to write to, and SystemExit with status
        78 when the environment is broken.
        """
        if options["write"]:
            try:
                for path, content in documents().items():
                    path.write_text(content, encoding="utf-8")
            except OSError as error:
                raise CommandError(f"Nothing to write to here: {error}") from error
            return
        reading = read_environment()
        if options["json"]:
            self.stdout.write(json.dumps(as_json(reading), indent=2))
        else:
            self.stdout.write(listing(reading))
        if reading.problems:
            if not options["json"]:
                self.stderr.write("\n" + table(reading.problems))
            sys.exit(EX_CONFIG)


def as_json(reading: Reading) -> dict[str, Any]:
    """Return the contract, the values and the problems, without a secret's value."""
    return {
        "variables": [
            {
                "name": entry.name,
                "type": entry.type,
                "default": entry.default,
                "secret": entry.secret,
                "required_in": entry.required_in,
                "meaning": entry.meaning,
                "source": reading.sources[entry.name],
                "value": shown(entry, reading),
            }
            for entry in CONTRACT.values()
        ],
        "problems": [row._asdict() for row in reading.problems],
    }


def listing(reading: Reading) -> str:
    """Return one line a variable: name, value, source, meaning."""
    rows = [("Variable", "Value", "From", "Meaning")]
    for name, entry in CONTRACT.items():
        rows.append((name, shown(entry, reading), reading.sources[name], entry.meaning))
    return columns(rows).rstrip("\n")


def shown(entry: Variable, reading: Reading) -> str:
    """Return a value for people: a secret is only said to be set, a broken value to be wrong."""
    if entry.name in {row.variable for row in reading.problems}:
        return "wrong"
    if reading.sources[entry.name] == "default":
        return written(entry.default)
    if entry.secret:
        return "set"
    # Without a usable environment the other values are not known to be sound.
    return written(getattr(reading.environment, entry.name)) if reading.environment else "set"


def written(value: Any) -> str:
    """Return a value as an environment file would hold it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(value)
    return "" if value is None else str(value)


def documents() -> dict[Path, str]:
    """Return the files that are made from the contract, whole, by path.

    Raises OSError when the README, which holds more than the contract, cannot be read.
    """
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    return {
        readme: README_TABLE.sub(lambda _found: readme_table(), text),
        ROOT / "env/secrets.env.example": example("secrets"),
        ROOT / "env/variables.tsv": variables_table(),
    }


def readme_table() -> str:
    """Return the contract as a Markdown table."""
    lines = ["| Variable | Value | Default | Meaning |", "| --- | --- | --- | --- |"]
    for entry in CONTRACT.values():
        if entry.required_in:
            default = "*required*" if len(entry.required_in) > 1 else "*required in ecs*"
        else:
            default = f"`{written(entry.default)}`" if entry.default not in (None, []) else ""
        kind = entry.type + (" (secret)" if entry.secret else "")
        lines.append(f"| `{entry.name}` | {kind} | {default} | {entry.meaning} |")
    return "\n".join(lines) + "\n"


def variables_table() -> str:
    """Return the contract as tab-separated text, for shell scripts; no cell is empty."""
    lines = [
        "# The environment contract for shell scripts, written by `manage.py env --write`.",
        "# name\tplace\tsecret\trequired\tvalue",
    ]
    for entry in CONTRACT.values():
        required = {0: "-", 1: "ecs", len(TARGETS): "all"}[len(entry.required_in)]
        secret = "secret" if entry.secret else "-"
        lines.append("\t".join([entry.name, entry.place, secret, required, entry.type]))
    return "\n".join(lines) + "\n"


def example(place: Place) -> str:
    """Return the example of env/<place>.env: what is required is empty, the rest a comment."""
    lines = [
        f"# Copied to env/{place}.env by make, with a key of its own: what a task definition's",
        "# `secrets` would inject. Git ignores the copy, and nothing overwrites it.",
        "# Put a value that holds $ or # in single quotes.",
    ]
    for entry in CONTRACT.values():
        if entry.place == place:
            mark = "" if entry.required_in else "# "
            lines += ["", f"# {entry.meaning} ({entry.type})", f"{mark}{entry.name}="]
    return "\n".join(lines) + "\n"

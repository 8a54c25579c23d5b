"""Print the environment contract with this process's values."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from environment.contract import CONTRACT
from environment.declaration import Variable
from environment.documents import as_text, documents
from environment.reading import EX_CONFIG, Reading, read_environment
from environment.report import aligned_columns, table


class Command(BaseCommand):
    """Print each variable's value, its source and its meaning.

    The command needs no settings (see manage.py), so it works in a broken environment. It then
    prints the problems too and exits with status 78, like every other process.
    """

    help = "Print every environment variable and the source of its value, but no secret."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        output = parser.add_mutually_exclusive_group()
        output.add_argument("--json", action="store_true", help="print one JSON object")
        output.add_argument(
            "--write",
            action="store_true",
            help="update the files that are generated from the contract: "
            "docs/configuration.md, env/secrets.env.example and env/variables.tsv",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["write"]:
            try:
                for path, content in documents().items():
                    path.write_text(content, encoding="utf-8")
            except OSError as error:
                raise CommandError(f"Cannot write the generated files: {error}") from error
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
    """Return the contract, the values and the problems."""
    return {
        "variables": [
            {
                "name": entry.name,
                "expected": entry.expected,
                "default": entry.default,
                "secret": entry.secret,
                "required_in": entry.required_in,
                "meaning": entry.meaning,
                "source": reading.sources[entry.name],
                "value": public_value(entry, reading),
            }
            for entry in CONTRACT.values()
        ],
        "problems": [row._asdict() for row in reading.problems],
    }


def listing(reading: Reading) -> str:
    """Return one line for each variable."""
    rows = [("Variable", "Value", "From", "Meaning")]
    for name, entry in CONTRACT.items():
        rows.append((name, public_value(entry, reading), reading.sources[name], entry.meaning))
    return aligned_columns(rows).rstrip("\n")


def public_value(entry: Variable, reading: Reading) -> str:
    """Return a printable value: "set" for a secret, "wrong" for an invalid value."""
    if entry.name in {row.variable for row in reading.problems}:
        return "wrong"
    if reading.sources[entry.name] == "default":
        return as_text(entry.default)
    # In a broken environment there are no parsed values.
    if entry.secret or not reading.environment:
        return "set"
    return as_text(getattr(reading.environment, entry.name))

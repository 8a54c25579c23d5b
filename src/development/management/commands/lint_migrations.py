"""Checks models and migrations without a database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandParser
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState

from development.migration_linter import find_unsafe, project_migrations


class Command(BaseCommand):
    """Report migrations that disturb a running site, and model changes without a migration."""

    help = __doc__
    requires_system_checks: list[str] = []  # noqa: RUF012 - as in the base class

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "app_label",
            nargs="*",
            help="check only the migrations of these apps, which may belong to packages",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        labels = options["app_label"]
        if labels:
            selected = {key for key in MigrationLoader(None).disk_migrations if key[0] in labels}
        else:
            selected = project_migrations()
        problems = [str(finding.as_check()) for finding in find_unsafe(selected)]
        if not labels:
            problems += changes_without_migration()
        for problem in problems:
            self.stderr.write(problem)
        if problems:
            sys.exit(1)


def changes_without_migration() -> Iterator[str]:
    """Yield a message for each change that `makemigrations --check` reports.

    makemigrations itself also reads the history of the database.
    """
    loader = MigrationLoader(None)
    detector = MigrationAutodetector(loader.project_state(), ProjectState.from_apps(apps))
    for label, migrations in detector.changes(graph=loader.graph).items():
        for operation in migrations[0].operations:
            change = operation.describe()
            yield f"{label}: {change} has no migration. Run make makemigrations."

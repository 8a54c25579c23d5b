"""The app of the dev target's commands and checks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import Error, Tags, register
from django.db import DatabaseError, connections
from django.db.migrations.recorder import MigrationRecorder

POSTGIS_ADAPTER = "django.contrib.gis.db.backends.postgis.adapter"


class DevelopmentConfig(AppConfig):
    """Checks migrations before `migrate` runs. The ecs target has neither this app nor squawk."""

    name = "development"

    def ready(self) -> None:
        register(check_unapplied_migrations, Tags.database)
        if not apps.is_installed("django.contrib.gis"):
            # The debug toolbar, whose ready() comes later, imports this module, which would search
            # for the GDAL library under 13 names, with several processes for each, at every start
            # and reload. None makes the import fail, as the toolbar expects.
            sys.modules[POSTGIS_ADAPTER] = None  # type: ignore[assignment]


def check_unapplied_migrations(
    databases: Sequence[str] | None = None, **_options: Any
) -> list[Error]:
    """Return the linter's findings in unapplied migrations. Django's migrate stops at any."""
    if not databases:
        return []
    try:
        applied = MigrationRecorder(connections[databases[0]]).applied_migrations()
    except DatabaseError:
        # migrate itself reports that PostgreSQL is away.
        return []
    if not applied:
        # Nothing runs on a new database.
        return []
    from development.migration_linter import find_unsafe, project_migrations

    unapplied = project_migrations() - applied.keys()
    return [finding.as_check() for finding in find_unsafe(unapplied)] if unapplied else []

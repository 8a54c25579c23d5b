from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004 - Django's name
from django.db import connections

from backends.database import OWNS_TABLES


class BackendsConfig(AppConfig):
    name = "backends"


@register(Tags.database, deploy=True)
def check_role(*, databases: Sequence[str] | None, **_: Any) -> list[CheckMessage]:
    """Warn in ``check --deploy --database default`` if one role owns the tables and serves web."""
    found: list[CheckMessage] = []
    for alias in databases or ():
        with connections[alias].cursor() as cursor:
            cursor.execute(OWNS_TABLES)
            if cursor.fetchone() == (True,):
                hint = "Give the tables to a role of their own, as docs/database.md describes."
                message = "The role of DATABASE_URL owns the tables, so the site could drop them."
                found.append(Warning(message, hint=hint, id="backends.W001"))
    return found

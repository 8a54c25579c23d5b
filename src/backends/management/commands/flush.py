"""Django's flush, as the owner: the role of requests may not truncate tables."""

from typing import Any

from django.conf import settings
from django.core.management.commands.flush import Command as FlushCommand

from backends.database import connected_as_owner


class Command(FlushCommand):
    def handle(self, **options: Any) -> None:
        with connected_as_owner(options["database"], settings.ENV):
            super().handle(**options)

"""Delete clients that registered themselves and are not used."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone
from oauth2_provider.models import AccessToken, Application, Grant, RefreshToken


class Command(BaseCommand):
    help = "Delete clients that registered themselves over 30 days ago and hold no token."

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete them. Expired tokens count until ``cleartokens`` has deleted them."""
        unused = Application.objects.filter(
            registration_source=Application.RegistrationSource.DCR,
            created__lt=timezone.now() - timedelta(days=30),
        )
        for model in (AccessToken, Grant, RefreshToken):
            unused = unused.exclude(pk__in=model.objects.values("application"))
        with transaction.atomic():
            # A token for a locked client waits, and then fails because the client is gone.
            locked = unused.select_for_update(skip_locked=True).values_list("pk", flat=True)
            deleted, _ = Application.objects.filter(pk__in=list(locked)).delete()
        self.stdout.write(f"Deleted {deleted} unused clients.")

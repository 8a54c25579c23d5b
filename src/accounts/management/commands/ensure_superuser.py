"""Make the superuser of the dev target."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.models import User


class Command(BaseCommand):
    """Unlike createsuperuser it may run at every start: it leaves an existing user alone."""

    help = "Make the superuser that DJANGO_SUPERUSER_EMAIL and DJANGO_SUPERUSER_PASSWORD name."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Make the user; raises CommandError in the ecs target or when a variable is missing."""
        if settings.ENV.TARGET == "ecs":
            raise CommandError(
                "ensure_superuser works in the dev target only; use createsuperuser here."
            )
        email = settings.ENV.DJANGO_SUPERUSER_EMAIL
        password = settings.ENV.DJANGO_SUPERUSER_PASSWORD
        if not email or not password:
            raise CommandError("Set DJANGO_SUPERUSER_EMAIL and DJANGO_SUPERUSER_PASSWORD.")
        if User.objects.filter(email__iexact=email).exists():
            return
        User.objects.create_superuser(email, password)
        self.stdout.write(f"Made the superuser {email}.")

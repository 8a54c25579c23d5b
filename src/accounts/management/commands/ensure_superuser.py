"""Make the dev superuser, once."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.models import User


class Command(BaseCommand):
    """Make the superuser of DJANGO_SUPERUSER_EMAIL and _PASSWORD unless somebody has the address.

    Unlike createsuperuser it may run at every start: an existing user, with whatever password, is
    left alone.
    """

    help = "Make the superuser that DJANGO_SUPERUSER_EMAIL and DJANGO_SUPERUSER_PASSWORD name."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Make the user; raises CommandError when a variable is missing."""
        email = settings.ENV.DJANGO_SUPERUSER_EMAIL
        password = settings.ENV.DJANGO_SUPERUSER_PASSWORD
        if not email or not password:
            raise CommandError("Set DJANGO_SUPERUSER_EMAIL and DJANGO_SUPERUSER_PASSWORD.")
        if User.objects.filter(email__iexact=email).exists():
            return
        User.objects.create_superuser(email, password)
        self.stdout.write(f"Made the superuser {email}.")

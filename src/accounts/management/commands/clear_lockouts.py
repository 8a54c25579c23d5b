"""Accept sign-ins and password resets again, after too many attempts."""

from typing import Any

from django.core.management.base import BaseCommand

from accounts.models import AttemptCounter


class Command(BaseCommand):
    help = "End every lockout: forget all counted attempts."

    def handle(self, *_args: Any, **_options: Any) -> None:
        AttemptCounter.objects.all().delete()
        self.stdout.write("Every lockout has ended.")

"""Fill the local database with demonstration users."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from itertools import batched
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.management.base import BaseCommand, CommandError

from accounts.models import User

PASSWORD = "demonstration"  # noqa: S105 - a public password of invented users
BATCH = 1000


class Command(BaseCommand):
    """Adds the same users each time, with the password "demonstration", and keeps existing ones."""

    help = "Make demonstration users, the same each time."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--users", type=int, default=1000, help="how many (1000)")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Add the users in batches, so that memory use does not grow with their number.

        Raises CommandError outside the dev target, or if the number is below 1.
        """
        if not settings.DEV_TOOLS:
            raise CommandError("seed is for the dev target: make up, then make seed.")
        if options["users"] < 1:
            raise CommandError("--users must be 1 or more.")
        from factory.random import reseed_random
        from tqdm import tqdm

        from accounts.factories import UserFactory

        before = User.objects.count()
        reseed_random("methodhub")
        UserFactory.reset_sequence(1)
        same = {
            # One hash for all users, because hashing is slow on purpose.
            "password": make_password(PASSWORD),
            "date_joined": datetime(2026, 1, 1, tzinfo=UTC),
        }
        with tqdm(total=options["users"], delay=1, unit=" users", leave=False) as progress:
            for numbers in batched(range(options["users"]), BATCH):
                users = UserFactory.build_batch(len(numbers), **same)
                User.objects.bulk_create(users, ignore_conflicts=True)
                progress.update(len(users))
        made = User.objects.count() - before
        self.stdout.write(f"Made {made} users; {options['users'] - made} were there already.")

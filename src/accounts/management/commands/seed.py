"""Fill the local database with users to try things with."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from itertools import batched
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.management.base import BaseCommand, CommandError

from accounts.models import User

PASSWORD = "demonstration"  # noqa: S105 - of users that are nobody
BATCH = 1000


class Command(BaseCommand):
    """Make the same users each time, with the password "demonstration"; what is there stays."""

    help = "Make demonstration users, the same each time."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --users."""
        parser.add_argument("--users", type=int, default=1000, help="how many (1000)")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Make the users, in batches: memory does not grow with their number.

        Raises CommandError outside the dev target, and for a number that is none.
        """
        if not settings.DEV_TOOLS:
            raise CommandError("seed is for the dev target: make up, then make seed.")
        if options["users"] < 1:
            raise CommandError("--users must be 1 or more.")
        from factory.random import reseed_random
        from tqdm import tqdm

        from accounts.factories import UserFactory

        before = User.objects.count()
        # The same names, and one hash for all: hashing is slow on purpose.
        reseed_random("methodhub")
        UserFactory.reset_sequence(1)
        same = {
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

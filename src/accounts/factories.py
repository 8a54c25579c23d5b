"""Factories of test data; factory-boy is installed in the dev target only."""

import factory.django

from accounts.models import User


class UserFactory(factory.django.DjangoModelFactory):  # type: ignore[misc]
    """Makes users with unique addresses and plausible names."""

    class Meta:
        model = User

    email = factory.Sequence(lambda number: f"user{number:07}@example.com")
    name = factory.Faker("name")

"""Users to try things with; factory-boy is in the dev target only."""

import factory.django

from accounts.models import User


class UserFactory(factory.django.DjangoModelFactory):  # type: ignore[misc]
    """A user with an address of its own and a name that somebody could have."""

    class Meta:
        """Of our user."""

        model = User

    email = factory.Sequence(lambda number: f"user{number:07}@example.com")
    name = factory.Faker("name")

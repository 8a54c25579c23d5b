"""Fixtures and steps that the tests of this app share."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user
from django.test import Client

from accounts.models import User

PASSWORD = "correct horse"
LOGIN = "/accounts/login/"


@pytest.fixture
def ada(db: None) -> User:
    """A user with a password who is not staff."""
    return User.objects.create_user("ada@example.com", PASSWORD)


def sign_in(
    client: Client, password: str, email: str = "ada@example.com", path: str = LOGIN, **extra: Any
) -> Any:
    """Post the sign-in form and return the response."""
    return client.post(path, {"username": email, "password": password}, **extra)


def signed_in_as(client: Client) -> str:
    """Return the e-mail address of the client's user, or an empty string."""
    return get_user(client).get_username()

"""The manager of users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import BaseUserManager

if TYPE_CHECKING:
    from accounts.models import User


class UserManager(BaseUserManager["User"]):
    """Identifies users by their e-mail address, regardless of case."""

    def get_by_natural_key(self, username: str | None) -> User:
        """Return the user with that e-mail address, regardless of case."""
        return self.get(email__iexact=username)

    async def aget_by_natural_key(self, username: str | None) -> User:
        """Return the user with that e-mail address, regardless of case."""
        return await self.aget(email__iexact=username)

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create a user. Without a password, the user cannot sign in with one.

        Raises ValueError if ``email`` is empty, IntegrityError if another user has it.
        """
        if not email:
            raise ValueError("A user needs an e-mail address.")
        user = self.model(email=self.normalize_email(email), **fields)
        user.password = make_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create a user with every permission."""
        return self.create_user(
            email, password, **{"is_staff": True, "is_superuser": True} | fields
        )

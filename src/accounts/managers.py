"""How users are made and found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import BaseUserManager

if TYPE_CHECKING:
    from accounts.models import User


class UserManager(BaseUserManager["User"]):
    """Users whose e-mail address is their name, in whatever case they type it."""

    def get_by_natural_key(self, username: str | None) -> User:
        """Return the user with that e-mail address, upper or lower case."""
        return self.get(email__iexact=username)

    async def aget_by_natural_key(self, username: str | None) -> User:
        """Return the user with that e-mail address, upper or lower case."""
        return await self.aget(email__iexact=username)

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Make a user; without a password it cannot sign in.

        Raises ValueError when ``email`` is empty, IntegrityError when somebody has it already.
        """
        if not email:
            raise ValueError("A user needs an e-mail address.")
        user = self.model(email=self.normalize_email(email), **fields)
        user.password = make_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Make a user who may do everything in the admin."""
        return self.create_user(
            email, password, **{"is_staff": True, "is_superuser": True} | fields
        )

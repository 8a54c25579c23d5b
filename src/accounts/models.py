"""The user: the e-mail address is the login."""

from collections.abc import Iterator
from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser, PermissionsMixin
from django.db import models
from django.db.models.functions import Upper
from django.utils import timezone

from accounts.managers import UserManager


class User(AbstractBaseUser, PermissionsMixin):
    """Somebody who may sign in.

    Custom from the first migration, since AUTH_USER_MODEL cannot be changed later:
    https://docs.djangoproject.com/en/6.1/topics/auth/customizing/
    """

    email = models.EmailField(
        "e-mail address",
        unique=True,
        error_messages={"unique": "A user with that e-mail address already exists."},
    )
    name = models.CharField(max_length=200, blank=True)
    is_active = models.BooleanField(
        "active", default=True, help_text="Clear this instead of deleting the user."
    )
    is_staff = models.BooleanField("staff", default=False, help_text="May sign in to the admin.")
    date_joined = models.DateTimeField(default=timezone.now, editable=False)
    # Every session started before it was last raised is refused.
    session_epoch = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        """Nobody has the same address in another case; the database sees to it."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                # What email__iexact compares, so that finding a user takes the index as well.
                Upper("email"),
                name="accounts_user_email_ci",
                violation_error_message="A user with that e-mail address already exists.",
            )
        ]

    def __str__(self) -> str:
        """Return the address, which names the user everywhere."""
        return self.email

    def get_short_name(self) -> str:
        """Return what the admin greets the user by."""
        return self.name or self.email

    def get_session_auth_hash(self) -> str:
        """Return what a session must hold to be this user's."""
        return self._with_epoch(super().get_session_auth_hash())

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        """Return the same for each former secret key."""
        return map(self._with_epoch, super().get_session_auth_fallback_hash())

    def _with_epoch(self, auth_hash: str) -> str:
        return f"{auth_hash}.{self.session_epoch}" if self.session_epoch else auth_hash

    def end_sessions(self) -> None:
        """Sign the user out of all sessions, even of those that a stale cache still holds."""
        type(self).objects.filter(pk=self.pk).update(session_epoch=models.F("session_epoch") + 1)

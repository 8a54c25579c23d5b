"""The user, who signs in with an e-mail address, and the counters of the throttle."""

from collections.abc import Iterator
from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser, PermissionsMixin
from django.db import models
from django.db.models.functions import Upper
from django.utils import timezone

from accounts.managers import UserManager


class User(AbstractBaseUser, PermissionsMixin):
    """A user account.

    It is a custom model from the first migration, because AUTH_USER_MODEL cannot change later:
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
    # end_sessions() increments it, which makes all earlier sessions invalid.
    session_epoch = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        # E-mail addresses are unique regardless of case.
        constraints: ClassVar = [
            models.UniqueConstraint(
                # email__iexact compares UPPER(email), so lookups use this index too.
                Upper("email"),
                name="accounts_user_email_ci",
                violation_error_message="A user with that e-mail address already exists.",
            )
        ]

    def __str__(self) -> str:
        return self.email

    def get_short_name(self) -> str:
        """Return the name in the admin's greeting."""
        return self.name or self.email

    def get_session_auth_hash(self) -> str:
        """Return the hash that a valid session of this user holds."""
        return self._with_epoch(super().get_session_auth_hash())

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        """Return that hash for each former secret key."""
        return map(self._with_epoch, super().get_session_auth_fallback_hash())

    def _with_epoch(self, auth_hash: str) -> str:
        return f"{auth_hash}.{self.session_epoch}" if self.session_epoch else auth_hash

    def end_sessions(self) -> None:
        """Sign the user out of all sessions, even of those that a stale cache still holds."""
        type(self).objects.filter(pk=self.pk).update(session_epoch=models.F("session_epoch") + 1)


class AttemptCounter(models.Model):  # noqa: DJ008 - nothing shows one
    """Attempts counted under one key until it expires; see accounts.throttle."""

    key = models.CharField(max_length=64, primary_key=True)
    attempts = models.PositiveIntegerField()
    # Whether a failure reached the limit. Attempts in progress reach it too, but may succeed.
    locked = models.BooleanField(default=False, db_default=False)
    expires = models.DateTimeField(db_index=True)

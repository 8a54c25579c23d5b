"""The authentication backend, which limits the rate of attempts.

It covers all callers of Django's ``authenticate``, such as the site's sign-in page and the admin's.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from accounts.devices import known_device, remember_device
from accounts.models import User
from accounts.throttle import (
    count_revocable_attempt,
    counter_key,
    lock,
    network_limits,
    networks,
    uncount_attempt,
)


class LockoutBackend(ModelBackend):
    """Django's own backend, which refuses to check a password after too many failures."""

    @sensitive_variables("password")
    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """Return the user with this address and password.

        Raises TooManyAttemptsError if the attempt is refused, or if it fails and was the last one
        allowed. Raises PermissionDenied after other failures, so that no later backend checks the
        password again.
        """
        if username is None:
            username = kwargs.get(User.USERNAME_FIELD)
        if username is None or password is None:
            return None
        limits = sign_in_limits(request, username)
        # Hashing takes long enough for many parallel guesses, so the attempt counts before it.
        at_limit = count_revocable_attempt(limits)
        user = super().authenticate(request, username, password)
        if user is None:
            if at_limit:
                raise lock(at_limit)
            raise PermissionDenied
        uncount_attempt(limits)
        if request is not None:
            remember_device(request, account_key(username))
        return user

    @sensitive_variables("password")
    async def aauthenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """Do the same for asynchronous code."""
        return await sync_to_async(self.authenticate)(request, username, password, **kwargs)


def sign_in_limits(request: HttpRequest | None, username: str) -> dict[str, int]:
    """Return the counters of a sign-in attempt and the failures that each allows in ten minutes.

    One network alone cannot lock an account for other networks: its own limit for the account is
    reached long before. Many networks together can. A device on which the account has signed in has
    limits of its own, so they cannot lock it out. The limits of a network leave room for the typing
    errors of a whole office.
    """
    account = account_key(username)
    if request is None:
        return {counter_key("sign-in", account): 50}
    if device := known_device(request, account):
        return {
            counter_key("sign-in", account, "device", device): 5,
            # Somebody who knew a former password may have collected many devices.
            counter_key("sign-in", account, "devices"): 50,
        }
    return {
        counter_key("sign-in", account, "network", networks(request)[-1]): 5,
        counter_key("sign-in", account): 50,
        **network_limits("sign-in", request),
    }


def account_key(username: str) -> str:
    """Return the key of an account: the same for every spelling that email__iexact matches."""
    return counter_key("account", username.upper())

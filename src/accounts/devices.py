"""Devices that have signed in before, recognized by a signed cookie.

Their attempts have limits of their own, so strangers who fail cannot lock them out:
https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase

COOKIE = "device"
# The longest lifetime that browsers accept:
# https://developer.chrome.com/blog/cookie-max-age-expires
MAX_AGE = timedelta(days=400)
# Accounts that a device remembers. It forgets the oldest first, so the cookie stays small.
MAX_ACCOUNTS = 5


def known_device(request: HttpRequest, account: str) -> str | None:
    """Return the id of a device on which ``account`` has signed in before."""
    device, accounts = _read_cookie(request)
    return device if account in accounts else None


def remember_device(request: HttpRequest, account: str) -> None:
    """Record that ``account`` has signed in on this device, for ``set_device_cookie``."""
    device, accounts = _read_cookie(request)
    accounts = [known for known in accounts if known != account][1 - MAX_ACCOUNTS :]
    request.device_cookie = [device or secrets.token_urlsafe(12), *accounts, account]  # type: ignore[attr-defined]


def set_device_cookie(request: HttpRequest, response: HttpResponseBase) -> None:
    """Set the cookie if an account has signed in during this request."""
    if device := getattr(request, "device_cookie", None):
        response.set_cookie(
            COOKIE,
            signing.dumps(device, salt=__name__),
            max_age=MAX_AGE,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )


def _read_cookie(request: HttpRequest) -> tuple[str, list[str]]:
    try:
        device, *accounts = signing.loads(
            request.COOKIES.get(COOKIE, ""), salt=__name__, max_age=MAX_AGE
        )
    except signing.BadSignature:
        return "", []
    return device, accounts

"""Failed sign-ins are counted in PostgreSQL (django-axes), and too many are refused for a while.

It covers whatever calls django.contrib.auth's authenticate with a request: our page and the admin.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from asgiref.sync import sync_to_async
from axes.backends import AxesStandaloneBackend
from axes.handlers.database import AxesDatabaseHandler
from django.conf import settings
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from serving.client_ip import client_ip

# The failure that locks, of each of AXES_LOCKOUT_PARAMETERS: one account from one address, one
# address, one account. An address alone cannot lock an account for anybody else, since it is
# refused long before; an office behind one address has room to mistype.
LIMITS = (5, 30, 50)


class Backend(AxesStandaloneBackend):  # type: ignore[misc]
    """Refuses who is locked out, ahead of the backend that looks at the password."""

    async def aauthenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        """Refuse asynchronous code too; axes itself does not."""
        await sync_to_async(self.authenticate)(request, **credentials)


class Handler(AxesDatabaseHandler):  # type: ignore[misc]
    """axes' counts in PostgreSQL, with a limit of its own for each."""

    def get_failures(
        self, request: HttpRequest, credentials: Mapping[str, Any] | None = None
    ) -> int:
        """Return how often a limit was reached; AXES_FAILURE_LIMIT is 1."""
        return max(
            (attempts.aggregate(sum=Sum("failures_since_start"))["sum"] or 0) // limit
            for attempts, limit in zip(
                self.get_user_attempts(request, credentials), LIMITS, strict=True
            )
        )


def account(_request: HttpRequest, credentials: Mapping[str, Any] | None) -> str:
    """Return the name to count under: all that email__iexact takes for the same is the same."""
    return str((credentials or {}).get("username", "")).upper()[:255]


def address(request: HttpRequest) -> str | None:
    """Return the address to count under, or None without one.

    Of IPv6 the network: whoever has one address there has 2**64.
    """
    client = client_ip(
        request.META.get("REMOTE_ADDR", ""),
        request.META.get("HTTP_X_FORWARDED_FOR", "").encode("latin-1", "replace"),
        settings.ENV.TRUSTED_PROXY_COUNT,
    )
    try:
        found = ipaddress.ip_address(client)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found), 64), strict=False).network_address)


def locked_out(request: HttpRequest, *_: Any) -> HttpResponse:
    """Answer 429 to a sign-in that is refused, or that was the last one allowed."""
    seconds = settings.AXES_COOLOFF_TIME.seconds
    answer = render(request, "429.html", {"minutes": seconds // 60}, status=429)
    answer["Retry-After"] = str(seconds)
    return answer

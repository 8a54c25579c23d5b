"""The home page."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import django
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from redis.exceptions import RedisError

from accounts.models import User


class Service(NamedTuple):
    """A backing service on the home page. ``milliseconds`` is None if it does not answer."""

    name: str
    version: str
    milliseconds: float | None


def home(request: HttpRequest) -> HttpResponse:
    """Show the home page; with DEBUG on, or to staff, also the state of the backing services."""
    user = _signed_in_user(request)
    context: dict[str, Any] = {
        "signed_in_user": user,
        "target": settings.ENV.TARGET,
        "debug": settings.DEBUG,
        "mcp_url": settings.ENV.MCP_HUB and request.build_absolute_uri("/mcp"),
    }
    if settings.DEBUG or (user and user.is_staff):
        context |= {
            "django": django.get_version(),
            "python": platform.python_version(),
            "services": [
                _check_service("PostgreSQL", _postgres_version),
                _check_service("Redis", _redis_version),
            ],
        }
    return render(request, "home/home.html", context)


def favicon(_request: HttpRequest) -> HttpResponse:
    """Redirect to the icon. Browsers request /favicon.ico on the admin's pages."""
    return redirect(static("icon.svg"))


def _signed_in_user(request: HttpRequest) -> User | None:
    # Reading the session fails while PostgreSQL is unavailable.
    try:
        return request.user if request.user.is_authenticated else None
    except DatabaseError:
        return None


def _check_service(name: str, version: Callable[[], str]) -> Service:
    try:
        version()  # may connect first, so the second call measures the round trip alone
        start = time.perf_counter()
        current = version()
    except (DatabaseError, RedisError):
        return Service(name, "not reachable", None)
    return Service(name, current, (time.perf_counter() - start) * 1000)


def _postgres_version() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return str(cursor.fetchone()[0]).split()[0]


def _redis_version() -> str:
    info = cache.client.get_client().info("server")  # type: ignore[attr-defined]
    return str(info.get("valkey_version") or info["redis_version"])

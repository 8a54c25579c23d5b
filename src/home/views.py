"""The page at /."""

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
    """A backing service as the page shows it: its version and the round trip in milliseconds."""

    name: str
    version: str
    milliseconds: float | None


def home(request: HttpRequest) -> HttpResponse:
    """Greet; with DEBUG on, or to staff, also show that the parts of the stack talk."""
    who = _who(request)
    context: dict[str, Any] = {
        "who": who,
        "target": settings.ENV.TARGET,
        "debug": settings.DEBUG,
    }
    if settings.DEBUG or (who and who.is_staff):
        context |= {
            "django": django.get_version(),
            "python": platform.python_version(),
            "services": [_ask("PostgreSQL", _postgres), _ask("Redis", _redis)],
        }
    return render(request, "home/home.html", context)


def favicon(_request: HttpRequest) -> HttpResponse:
    """Send browsers that ask for /favicon.ico, as on the admin's pages, to the icon."""
    return redirect(static("icon.svg"))


def _who(request: HttpRequest) -> User | None:
    # Asking for the user reads the session, which PostgreSQL may be away for.
    try:
        return request.user if request.user.is_authenticated else None
    except DatabaseError:
        return None


def _ask(name: str, version: Callable[[], str]) -> Service:
    try:
        version()  # connects, if need be: the second question measures the round trip alone
        start = time.perf_counter()
        answer = version()
    except (DatabaseError, RedisError):
        return Service(name, "not reachable", None)
    return Service(name, answer, (time.perf_counter() - start) * 1000)


def _postgres() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return str(cursor.fetchone()[0]).split()[0]


def _redis() -> str:
    info = cache.client.get_client().info("server")  # type: ignore[attr-defined]
    return str(info.get("valkey_version") or info["redis_version"])

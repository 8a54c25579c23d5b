"""The answer to a request while a resource that it needs is unavailable: 503, with no details."""

from __future__ import annotations

import errno
import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.template import loader
from django.views.defaults import server_error as django_server_error

RETRY_AFTER = 5  # seconds
TITLE = "The service is temporarily unavailable"


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Answer an uncaught exception with 503 or with Django's own 500; the URLconf's handler500.

    A middleware would miss exceptions of other middleware, for which Django calls handler500 too.
    """
    if not is_unavailability(sys.exception()):
        return django_server_error(request)
    return unavailable_response(request)


def unavailable_response(request: HttpRequest) -> HttpResponse:
    """Return the 503 page, or JSON where the client prefers it."""
    headers = {"Retry-After": str(RETRY_AFTER), "Cache-Control": "no-store"}
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        return JsonResponse({"error": TITLE}, status=503, headers=headers)
    return HttpResponse(loader.get_template("503.html").render(), status=503, headers=headers)


def is_unavailability(error: BaseException | None) -> bool:
    """Return whether an exception means that PostgreSQL is away or busy, or that /tmp is full."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    return isinstance(error, OperationalError | InterfaceError)

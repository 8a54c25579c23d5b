"""Middleware that rejects input that PostgreSQL cannot store or evaluate."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction, markcoroutinefunction
from typing import Any

from django.core.exceptions import BadRequest
from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.views.defaults import bad_request


class RejectNullBytesMiddleware:
    """Answer 400 to a null byte in the path, the query or a cookie.

    PostgreSQL cannot store null bytes: in a session key or an admin filter, one would cause a 500.
    In a request body, Django's form fields reject them.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        """Wrap ``get_response``, synchronous or asynchronous."""
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Reject the request or pass it on."""
        if not contains_null_byte(request):
            return self.get_response(request)
        response = bad_request(request, BadRequest())
        return _as_coroutine(response) if self.is_async else response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer 400 when PostgreSQL refuses a query's value, such as the admin's ?email__regex=(.

        On POST and other methods that write, a refused value is an error of the view: a 500.
        """
        if request.method in ("GET", "HEAD") and isinstance(exception, DataError):
            return bad_request(request, BadRequest())
        return None


def contains_null_byte(request: HttpRequest) -> bool:
    """Return whether the path, the query or a cookie decodes to text with a null byte."""
    return (
        "\0" in request.path_info
        or "%00" in request.META.get("QUERY_STRING", "")
        # Django decodes the octal escapes of a quoted cookie.
        or "\\000" in request.META.get("HTTP_COOKIE", "")
    )


async def _as_coroutine(response: HttpResponse) -> HttpResponse:
    return response

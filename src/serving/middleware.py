"""What no view should have to think of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any

from django.core.exceptions import BadRequest
from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware
from django.views.defaults import bad_request


def holds_nul(request: HttpRequest) -> bool:
    """Return whether the path, the query or a cookie decodes to text with a NUL in it.

    The last as `"\\000"`: Django undoes the escapes of a quoted cookie.
    """
    return (
        "\0" in request.path_info
        or "%00" in request.META.get("QUERY_STRING", "")
        or "\\000" in request.META.get("HTTP_COOKIE", "")
    )


def refused(request: HttpRequest) -> HttpResponse:
    """Return the answer to a request that no well-meaning browser sends."""
    return bad_request(request, BadRequest())


def refused_question(request: HttpRequest, exception: Exception) -> HttpResponse | None:
    """Answer 400 where PostgreSQL refuses a value asked for, as the admin's ?email__regex=( is.

    Of what is written, a refused value is a view's mistake, and stays a 500.
    """
    asked = request.method in ("GET", "HEAD") and isinstance(exception, DataError)
    return refused(request) if asked else None


@sync_and_async_middleware
def refuse_what_postgres_cannot_take(
    get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]:
    """Answer 400 to a NUL outside the body, where no form refuses it, and to refused questions.

    PostgreSQL stores no NUL: a session key or a filter of the admin with one would be a 500.
    """
    answer: Any
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            return refused(request) if holds_nul(request) else await get_response(request)

        answer = answer_async
    else:

        def answer_sync(request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
            return refused(request) if holds_nul(request) else get_response(request)

        answer = answer_sync
    answer.process_exception = refused_question
    return answer  # type: ignore[no-any-return]

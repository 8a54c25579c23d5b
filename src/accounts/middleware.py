"""The middleware of this app."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from accounts.devices import set_device_cookie
from accounts.throttle import too_many_attempts_response


@sync_and_async_middleware
def throttle_middleware(
    get_response: Callable[[HttpRequest], Any],
) -> Any:
    """Answer 429 to refused attempts, and remember the devices that people sign in on."""
    middleware: Any
    if iscoroutinefunction(get_response):

        async def middleware_async(request: HttpRequest) -> HttpResponseBase:
            response: HttpResponseBase = await get_response(request)
            set_device_cookie(request, response)
            return response

        middleware = middleware_async
    else:

        def middleware_sync(request: HttpRequest) -> HttpResponseBase:
            response: HttpResponseBase = get_response(request)
            set_device_cookie(request, response)
            return response

        middleware = middleware_sync
    middleware.process_exception = too_many_attempts_response
    return middleware

"""Static files, in the synchronous and in the asynchronous middleware chain."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable, iscoroutinefunction, markcoroutinefunction
from typing import Any

from django.http import HttpRequest
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]  # it is untyped
    """WhiteNoise's middleware for both chains; WhiteNoise itself supports only the synchronous one.

    In an asynchronous chain, Django would run WhiteNoise's middleware in a thread, and hold that
    thread until the view has answered.
    """

    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        """Index the static files, and wrap ``get_response``, synchronous or asynchronous."""
        super().__init__(get_response)
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Return a static file, or the response of ``get_response``."""
        response = super().__call__(request)
        return _awaited(response) if self.is_async else response


async def _awaited(response: Any) -> Any:
    return await response if isawaitable(response) else response

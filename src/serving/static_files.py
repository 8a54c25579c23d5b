"""Static files, without holding up what is asynchronous."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable, iscoroutinefunction, markcoroutinefunction
from typing import Any

from django.http import HttpRequest
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]  # it is untyped
    """WhiteNoise, for both chains of middleware; by itself it is synchronous.

    Between asynchronous middleware it would hold a thread for as long as the view takes.
    """

    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        """Find the files; be asynchronous if ``get_response`` is."""
        super().__init__(get_response)
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Return a file, or what ``get_response`` makes of the request."""
        response = super().__call__(request)
        return _awaited(response) if self.is_async else response


async def _awaited(response: Any) -> Any:
    return await response if isawaitable(response) else response

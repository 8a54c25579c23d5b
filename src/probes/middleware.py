"""Liveness and readiness, answered ahead of everything else."""

from collections.abc import Awaitable, Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from probes import views

PROBES: dict[str, Callable[[HttpRequest], HttpResponse]] = {
    "/livez": views.livez,
    "/readyz": views.readyz,
}


class ProbesMiddleware:
    """Answer the probes before host validation, redirects, sessions and logging see them."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        """Wrap the rest of the site."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer a probe, or pass the request on."""
        probe = PROBES.get(request.path_info)
        if probe is not None and request.method in ("GET", "HEAD"):
            return probe(request)
        return self.get_response(request)

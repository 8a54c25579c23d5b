"""The project's addresses, and the least that a view can do."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from config.urls import urlpatterns as project


def plain(_request: HttpRequest) -> HttpResponse:
    """Answer."""
    return HttpResponse("ok\n", content_type="text/plain")


# The probes too: the servers compared have no middleware that answers them.
urlpatterns = [*project, *(path(name, plain) for name in ("plain/", "livez", "readyz"))]

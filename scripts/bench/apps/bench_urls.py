"""The project's URLs and a trivial view."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from config.urls import urlpatterns as project


def plain(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


# The compared servers lack the middleware that answers the probes.
urlpatterns = [*project, *(path(name, plain) for name in ("plain/", "livez", "readyz"))]

"""The project's URLs, a trivial view and one that writes the session."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from accounts.models import User
from config.urls import urlpatterns as project


def plain(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


def writing(request: HttpRequest) -> HttpResponse:
    visits = request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(f"{User.objects.count()} users, visit {visits}\n")


# The compared servers lack the middleware that answers the probes.
urlpatterns = [
    *project,
    path("writing/", writing),
    *(path(name, plain) for name in ("plain/", "livez", "readyz")),
]

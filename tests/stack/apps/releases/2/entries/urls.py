"""The project's URLs, and one that writes an entry and reads those of both releases."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from config.urls import handler500 as handler500
from config.urls import urlpatterns as project

from .models import Entry


def write_and_read(_request: HttpRequest) -> HttpResponse:
    """Insert and update an entry, and list the latest. Fails if one has no headline."""
    entry = Entry.objects.create(headline="draft")
    entry.headline = "written by release 2"
    entry.save()
    latest = Entry.objects.order_by("-pk")[:10]
    return HttpResponse("\n".join(entry.headline for entry in latest))


urlpatterns = [*project, path("entries/", write_and_read)]

"""Error pages: in the site's design, without database queries, inline scripts or inline styles."""

from __future__ import annotations

import re

import pytest
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.views.decorators.csrf import csrf_protect

from config.urls import urlpatterns as project
from serving.unavailability import TITLE


def fail(_request: HttpRequest, kind: str) -> HttpResponse:
    raise {"400": BadRequest, "403": PermissionDenied, "503": OperationalError}.get(
        kind, ZeroDivisionError
    )("not to be shown")


urlpatterns = [
    *project,
    path("fail/<kind>/", fail),
    path("form/", csrf_protect(lambda _request: HttpResponse("accepted"))),
]
handler500 = "serving.unavailability.server_error"
# No test here is marked django_db, so a database query fails it.
pytestmark = pytest.mark.urls(__name__)

PAGES = {
    "/fail/400/": (400, "The request is not valid"),
    "/?a=%00": (400, "The request is not valid"),
    "/fail/403/": (403, "You do not have permission"),
    "/none": (404, "Page not found"),
    "/fail/500/": (500, "Something went wrong"),
    "/fail/503/": (503, TITLE),
}


@pytest.mark.parametrize("url", PAGES)
def test_error_page_needs_no_database_and_shows_no_details(client: Client, url: str) -> None:
    client.raise_request_exception = False
    # A session key: a page that asked for the session would query the database, and fail here.
    client.cookies["sessionid"] = "0" * 32
    response = client.get(url)
    status, heading = PAGES[url]
    assert response.status_code == status
    assert heading in response.text
    assert "not to be shown" not in response.text
    assert_nothing_inline(response.text)
    assert "'unsafe-inline'" not in response.headers["Content-Security-Policy"]


def test_form_without_csrf_token_gets_the_sites_own_page() -> None:
    response = Client(enforce_csrf_checks=True).post("/form/")
    assert response.status_code == 403
    assert "CSRF verification failed" in response.text
    assert_nothing_inline(response.text)


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_unavailable_response_asks_for_a_retry_and_is_not_cached(
    client: Client, accept: str
) -> None:
    client.raise_request_exception = False
    response = client.get("/fail/503/", headers={"accept": accept})
    assert response.status_code == 503
    assert response.headers["Content-Type"].startswith(accept)
    assert response.headers["Retry-After"] == "5"
    assert response.headers["Cache-Control"] == "no-store"


def test_unavailable_response_is_json_for_clients_that_prefer_it(client: Client) -> None:
    client.raise_request_exception = False
    response = client.get("/fail/503/", headers={"accept": "application/json"})
    assert response.json() == {"error": "The service is temporarily unavailable"}


def assert_nothing_inline(page: str) -> None:
    """Fail on an inline style or script, or on a file of another site, in the page."""
    assert not re.search(r"<style|<script|style=| on\w+=|https?://", page)
    assert re.search(r'<link rel="stylesheet" href="/static/site[.\w]*css">', page)

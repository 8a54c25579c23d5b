"""Error pages: of the site's own looks, without a database, and nothing inline."""

from __future__ import annotations

import asyncio
import errno
import re

import pytest
from asgiref.testing import ApplicationCommunicator
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.views.decorators.csrf import csrf_protect

from config.urls import urlpatterns as project
from serving.unavailability import TITLE, Unavailable


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
# Without the mark that allows it no test here may ask the database.
pytestmark = pytest.mark.urls(__name__)

PAGES = {
    "/fail/400/": (400, "This request makes no sense here"),
    "/?a=%00": (400, "This request makes no sense here"),
    "/fail/403/": (403, "This is not for you"),
    "/none": (404, "There is no such page"),
    "/fail/500/": (500, "Something went wrong"),
    "/fail/503/": (503, TITLE),
}


@pytest.mark.parametrize("address", PAGES)
def test_page(client: Client, address: str) -> None:
    client.raise_request_exception = False
    # Whose session would be looked up, were it asked for.
    client.cookies["sessionid"] = "0" * 32
    answer = client.get(address)
    status, says = PAGES[address]
    assert answer.status_code == status
    assert says in answer.text
    assert "not to be shown" not in answer.text
    assert_nothing_inline(answer.text)
    assert "'unsafe-inline'" not in answer.headers["Content-Security-Policy"]


def test_form_of_another_site() -> None:
    answer = Client(enforce_csrf_checks=True).post("/form/")
    assert answer.status_code == 403
    assert "CSRF verification failed" in answer.text
    assert_nothing_inline(answer.text)


def test_away_is_said_as_json_to_who_prefers_it(client: Client) -> None:
    client.raise_request_exception = False
    answer = client.get("/fail/503/", headers={"accept": "application/json"})
    assert answer.json() == {"error": TITLE}
    assert answer.headers["Retry-After"] == "5"


def test_no_space_for_a_body_is_said_with_the_same_page() -> None:
    async def full(_scope: Scope, _receive: ASGIReceiveCallable, _send: ASGISendCallable) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def ask() -> str:
        asked = ApplicationCommunicator(Unavailable(full), {"type": "http"})
        start = await asked.receive_output()
        assert start["status"] == 503
        return str((await asked.receive_output())["body"].decode())

    page = asyncio.run(ask())
    assert TITLE in page
    assert_nothing_inline(page)


def assert_nothing_inline(page: str) -> None:
    """Fail on a style, a script or a file of elsewhere in the page."""
    assert not re.search(r"<style|<script|style=| on\w+=|https?://", page)
    assert re.search(r'<link rel="stylesheet" href="/static/site[.\w]*css">', page)

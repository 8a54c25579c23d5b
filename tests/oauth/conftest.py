"""Steps of an MCP client and its user that the tests of this app share."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils.html import format_html
from oauth2_provider.models import Application
from pytest_django import Settings

from accounts.models import User

CALLBACK = "http://127.0.0.1:4000/callback"
RESOURCE = "http://testserver/mcp"
VERIFIER = "v" * 64
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
)
AUTHORIZE, TOKEN, REVOKE, REGISTER = (
    f"/oauth/{name}/" for name in ("authorize", "token", "revoke", "register")
)


@pytest.fixture
def ada(db: None) -> User:
    """A user who is not staff."""
    return User.objects.create_user("ada@example.com", "correct horse")


@pytest.fixture
def browser(ada: User) -> Client:
    """A browser in which the user is signed in."""
    browser = Client()
    browser.force_login(ada)
    return browser


@pytest.fixture
def application(db: None) -> Any:
    """A client that has registered itself."""
    return Application.objects.create(
        client_id="editor",
        name="Editor",
        redirect_uris=CALLBACK,
        client_type="public",
        authorization_grant_type="authorization-code",
        registration_source="dcr",
    )


def authorization_request(**changes: Any) -> dict[str, Any]:
    """Return the query of a valid authorization request; None removes a parameter."""
    query = {
        "response_type": "code",
        "client_id": "editor",
        "redirect_uri": CALLBACK,
        "scope": "mcp",
        "state": "of the client",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "resource": RESOURCE,
    } | changes
    return {name: value for name, value in query.items() if value is not None}


def fields(page: Any) -> dict[str, str]:
    """Return the fields of the consent form."""
    form = page.context["form"]
    return {name: form[name].value() for name in form.fields if form[name].value()}


def returned(response: Any) -> dict[str, str]:
    """Return the parameters that the client gets at its redirect URI."""
    assert response.status_code == 200
    delay, target = response.headers["Refresh"].split("; ", 1)
    assert delay == "0"
    return _parameters(target)


def linked(response: Any) -> dict[str, str]:
    """Return the parameters that the client gets if the user follows the link to it."""
    assert response.status_code == 200
    assert "Refresh" not in response.headers
    target = response.context["target"]
    link = format_html('<a href="{}">Continue to {}</a>', target, urlsplit(target).hostname)
    assert link in response.text
    return _parameters(target)


def _parameters(uri: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(uri).query).items()}


def allow(browser: Client, **changes: Any) -> dict[str, str]:
    """Open the consent page, allow the client, and return what it gets."""
    page = browser.get(AUTHORIZE, authorization_request(**changes))
    assert page.status_code == 200, page.text
    # The form posts to the page's own address.
    address = page.request["PATH_INFO"] + "?" + page.request["QUERY_STRING"]
    return returned(browser.post(address, fields(page) | {"allow": "true"}))


def exchange(code: str, client: Client | None = None, **changes: Any) -> Any:
    """Exchange a code for tokens and return the response."""
    form = {
        "grant_type": "authorization_code",
        "client_id": "editor",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
        "resource": RESOURCE,
    } | changes
    return (client or Client()).post(TOKEN, {k: v for k, v in form.items() if v is not None})


def refresh(token: str, **changes: Any) -> Any:
    """Exchange a refresh token and return the response."""
    form = {"grant_type": "refresh_token", "client_id": "editor", "refresh_token": token}
    return Client().post(TOKEN, form | changes)


@pytest.fixture
def tokens(browser: Client, application: Any) -> dict[str, Any]:
    """The tokens of a client that the user has allowed."""
    answer: dict[str, Any] = exchange(allow(browser)["code"]).json()
    return answer


@pytest.fixture
def oauth_options(settings: Settings) -> Callable[..., None]:
    """Change options of OAUTH2_PROVIDER for one test."""

    def change(**options: Any) -> None:
        settings.OAUTH2_PROVIDER = settings.OAUTH2_PROVIDER | options

    return change

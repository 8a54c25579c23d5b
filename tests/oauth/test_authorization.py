"""The consent page and the codes that it issues."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from oauth2_provider.models import Application, Grant

from accounts.models import User
from tests.oauth.conftest import (
    AUTHORIZE,
    RESOURCE,
    allow,
    authorization_request,
    exchange,
    fields,
    linked,
    refresh,
    returned,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("application")]


def test_user_signs_in_and_allows_a_client(ada: User) -> None:
    browser = Client()
    login = browser.get(AUTHORIZE, authorization_request()).headers["Location"]
    assert login.startswith("/accounts/login/?next=/oauth/authorize/")
    signed_in = browser.post(login, {"username": ada.email, "password": "correct horse"})
    page = browser.get(signed_in.headers["Location"])
    for text in ("Editor", "ada@example.com", "Use the tools of this site", "on your computer"):
        assert text in page.text
    assert "no-store" in page.headers["Cache-Control"]
    answer = returned(browser.post(signed_in.headers["Location"], fields(page) | {"allow": "1"}))
    assert answer["state"] == "of the client"
    assert answer["iss"] == "http://testserver"
    response = exchange(answer["code"])
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json()["token_type"] == "Bearer"
    assert response.json()["scope"] == "mcp"


def test_client_that_asks_for_no_scope_gets_the_mcp_server(
    browser: Client, application: Any
) -> None:
    response = exchange(allow(browser, scope=None)["code"])
    assert response.json()["scope"] == "mcp"


def test_user_who_cancels_returns_to_the_client_with_an_error(browser: Client) -> None:
    page = browser.get(AUTHORIZE, authorization_request())
    answer = returned(
        browser.post(AUTHORIZE + "?" + urlencode(authorization_request()), fields(page))
    )
    assert answer["error"] == "access_denied"
    assert answer["state"] == "of the client"
    assert not Grant.objects.exists()


def test_no_redirect_follows_a_form_because_browsers_apply_form_action_to_it(
    browser: Client,
) -> None:
    """Also an error may follow the sign-in form."""
    page = browser.get(AUTHORIZE, authorization_request(scope="unknown"))
    assert linked(page)["error"] == "invalid_scope"
    assert "form-action 'self'" in page.headers["Content-Security-Policy"]


def test_each_request_needs_consent_although_the_client_has_a_token(
    browser: Client, tokens: dict[str, Any]
) -> None:
    page = browser.get(AUTHORIZE, authorization_request(approval_prompt="auto"))
    assert "Refresh" not in page.headers
    assert "Allow" in page.text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "admin"}, "invalid_scope"),
        ({"resource": "http://testserver/admin"}, "invalid_target"),
        ({"resource": "https://other.example/mcp"}, "invalid_target"),
        ({"resource": [RESOURCE, "https://other.example/mcp"]}, "invalid_target"),
    ],
)
def test_invalid_request_links_to_the_client_with_an_error(
    browser: Client, changes: dict[str, Any], error: str
) -> None:
    answer = linked(browser.get(AUTHORIZE, authorization_request(**changes)))
    assert (answer["error"], answer["state"]) == (error, "of the client")


@pytest.mark.parametrize("changes", [{"prompt": "none"}, {"prompt": "none", "scope": "admin"}])
def test_visitor_who_is_not_signed_in_is_not_sent_to_another_site(
    application: Any, changes: dict[str, str]
) -> None:
    """Anyone may register a client."""
    application.redirect_uris = uri = "https://other.example/"
    application.save()
    page = Client().get(AUTHORIZE, authorization_request(redirect_uri=uri, **changes))
    assert linked(page)["error"] in ("login_required", "invalid_scope")
    assert "Continue to other.example" in page.text


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:4000/other",
        "http://127.0.0.1:4000/callback?more=1",
        "http://127.0.0.1:4000/callback#fragment",
        "http://localhost:4000/callback",
        "http://user@127.0.0.1:4000/callback",
        "https://127.0.0.1:4000/callback",
        "http://127.0.0.1.evil.example:4000/callback",
        "//evil.example/",
        "javascript:alert(1)",
        "",
    ],
)
def test_redirect_uri_that_is_not_registered_shows_an_error_page(browser: Client, uri: str) -> None:
    page = browser.get(AUTHORIZE, authorization_request(redirect_uri=uri))
    assert page.status_code == 400
    assert "Refresh" not in page.headers
    assert "The connection was not made" in page.text


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_native_client_may_use_any_port_of_the_users_computer(
    browser: Client, application: Any, host: str
) -> None:
    application.redirect_uris = f"http://{host}:4000/callback"
    application.save()
    elsewhere = f"http://{host}:51234/callback"
    answer = allow(browser, redirect_uri=elsewhere)
    assert exchange(answer["code"], redirect_uri=elsewhere).status_code == 200


def test_unencrypted_redirect_to_another_computer_is_refused(
    browser: Client, application: Any
) -> None:
    """An administrator could have entered it."""
    application.redirect_uris = "http://other.example/callback"
    application.save()
    page = browser.get(AUTHORIZE, authorization_request(redirect_uri=application.redirect_uris))
    assert page.status_code == 400


def test_unknown_client_shows_an_error_page(browser: Client) -> None:
    page = browser.get(AUTHORIZE, authorization_request(client_id="unknown"))
    assert page.status_code == 400
    assert "The connection was not made" in page.text


@pytest.mark.parametrize("query", ["a=%zz", "client_id", "a=%00", "&&", "client_id=%ff", "x=" * 3])
def test_malformed_query_is_a_client_error(browser: Client, query: str) -> None:
    assert browser.get(f"{AUTHORIZE}?{query}").status_code == 400
    assert browser.post(f"{AUTHORIZE}?{query}", {"allow": "1"}).status_code == 400


def test_client_that_was_deleted_meanwhile_is_not_found(browser: Client) -> None:
    page = browser.get(AUTHORIZE, authorization_request())
    Application.objects.all().delete()
    assert browser.post(AUTHORIZE, fields(page) | {"allow": "1"}).status_code == 404


def test_consent_without_csrf_token_is_refused(ada: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ada)
    page = browser.get(AUTHORIZE, authorization_request())
    assert browser.post(AUTHORIZE, fields(page) | {"allow": "1"}).status_code == 403
    assert not Grant.objects.exists()


def test_consent_form_accepts_no_other_resource(browser: Client) -> None:
    page = browser.get(AUTHORIZE, authorization_request())
    changed = fields(page) | {"allow": "1", "resource": "https://other.example/mcp"}
    assert browser.post(AUTHORIZE, changed).status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 64},
        {"code_verifier": None},
        {"client_id": "unknown"},
        {"redirect_uri": "http://127.0.0.1:4001/callback"},
        {"resource": "https://other.example/mcp"},
    ],
)
def test_code_is_bound_to_its_verifier_client_redirect_and_resource(
    browser: Client, changes: dict[str, Any]
) -> None:
    code = allow(browser)["code"]
    assert exchange(code, **changes).status_code in (400, 401)


def test_code_is_valid_once(browser: Client) -> None:
    code = allow(browser)["code"]
    assert exchange(code).status_code == 200
    assert exchange(code).json()["error"] == "invalid_grant"


def test_client_without_resource_parameter_gets_a_token_for_the_sites_servers(
    browser: Client, ada: User
) -> None:
    code = allow(browser, resource=None)["code"]
    assert exchange(code, resource=None).status_code == 200
    (token,) = ada.oauth2_provider_accesstoken.all()  # type: ignore[attr-defined]
    assert token.resource == [RESOURCE]


def test_codes_and_tokens_are_not_logged(browser: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    code = allow(browser)["code"]
    answer = exchange(code).json()
    renewed = refresh(answer["refresh_token"]).json()
    exchange(code)
    browser.get(f"/mcp?access_token={renewed['access_token']}")
    secrets = {
        code,
        *(each[f"{kind}_token"] for each in (answer, renewed) for kind in ("access", "refresh")),
    }
    shown = [record.getMessage() for record in caplog.records if record.levelno > 0]
    assert not any(secret in line for secret in secrets for line in shown)

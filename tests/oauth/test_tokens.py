"""The token and revocation endpoints."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import AccessToken, RefreshToken
from pytest_django import Settings

from accounts.models import AttemptCounter, User
from oauth.resource import find_token
from tests.oauth.conftest import RESOURCE, REVOKE, TOKEN, allow, exchange, refresh

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("application")]


def is_valid(tokens: dict[str, Any]) -> bool:
    """Return whether the MCP server accepts the access token."""
    return find_token(tokens["access_token"], RESOURCE) is not None


def test_tokens_are_stored_as_hashes_only(tokens: dict[str, Any]) -> None:
    stored = str([*AccessToken.objects.values_list(), *RefreshToken.objects.values_list()])
    assert tokens["access_token"] not in stored
    assert tokens["refresh_token"] not in stored
    assert is_valid(tokens)


def test_refresh_replaces_both_tokens(tokens: dict[str, Any]) -> None:
    renewed = refresh(tokens["refresh_token"], resource=RESOURCE).json()
    assert is_valid(renewed)
    assert not is_valid(tokens)
    assert refresh(renewed["refresh_token"]).status_code == 200


def test_refresh_token_that_is_used_twice_ends_the_connection(tokens: dict[str, Any]) -> None:
    """One of the two users may have stolen it."""
    renewed = refresh(tokens["refresh_token"]).json()
    assert refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert not is_valid(renewed)
    assert refresh(renewed["refresh_token"]).status_code == 400


def test_refresh_grants_no_other_resource_or_scope(tokens: dict[str, Any]) -> None:
    for changes in ({"resource": "https://other.example/mcp"}, {"scope": "mcp admin"}):
        assert refresh(tokens["refresh_token"], **changes).status_code == 400
    assert is_valid(tokens)


def test_refresh_token_that_is_not_used_for_thirty_days_expires(tokens: dict[str, Any]) -> None:
    assert tokens["expires_in"] == 3600
    AccessToken.objects.update(expires=timezone.now() - timedelta(days=29, hours=23))
    renewed = refresh(tokens["refresh_token"]).json()
    AccessToken.objects.update(expires=timezone.now() - timedelta(days=30, seconds=1))
    assert refresh(renewed["refresh_token"]).status_code == 400


def test_deactivated_user_keeps_no_access(tokens: dict[str, Any], browser: Client) -> None:
    code = allow(browser)["code"]
    User.objects.update(is_active=False)
    assert not is_valid(tokens)
    assert refresh(tokens["refresh_token"]).status_code == 400
    assert exchange(code).status_code == 400


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_client_revokes_its_own_tokens(tokens: dict[str, Any], kind: str) -> None:
    form = {"token": tokens[kind], "client_id": "editor"}
    assert Client().post(REVOKE, form).status_code == 200
    assert not is_valid(tokens)
    assert refresh(tokens["refresh_token"]).status_code == 400


def test_client_cannot_revoke_tokens_of_another(tokens: dict[str, Any]) -> None:
    form = {"token": tokens["access_token"], "client_id": "other"}
    Client().post(REVOKE, form)
    assert is_valid(tokens)


def test_rotation_of_the_secret_key_ends_no_connection(
    tokens: dict[str, Any], settings: Settings
) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 50, [settings.SECRET_KEY]
    assert is_valid(tokens)
    assert refresh(tokens["refresh_token"]).status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        {"grant_type": "password", "username": "ada@example.com", "password": "correct horse"},
        {"grant_type": "client_credentials"},
        {"grant_type": "urn:ietf:params:oauth:grant-type:device_code"},
        {"grant_type": "authorization_code", "code": "a\0b"},
        {"grant_type": "authorization_code", "code": "a", "client_id": "a\0b"},
        {"grant_type": "refresh_token", "refresh_token": "a\0b"},
        {},
    ],
    ids=str,
)
def test_other_grants_and_malformed_requests_are_client_errors(form: dict[str, str]) -> None:
    for path in (TOKEN, f"{TOKEN}?a=%zz", REVOKE):
        response = Client().post(path, {"client_id": "editor"} | form)
        assert response.status_code in (400, 401), path
        assert response.json()["error"]


def test_one_user_of_a_hosted_client_does_not_lock_out_the_others(browser: Client) -> None:
    for _ in range(40):
        assert exchange("wrong").status_code == 400
    assert exchange(allow(browser)["code"]).status_code == 200


def test_network_whose_requests_fail_a_thousand_times_is_refused() -> None:
    assert exchange("wrong").status_code == 400
    assert AttemptCounter.objects.update(attempts=999) == 1
    response = exchange("wrong", client_id="another")
    assert response.status_code == 429
    assert 590 < int(response.headers["Retry-After"]) <= 600
    assert Client().post(REVOKE, {"token": "a", "client_id": "editor"}).status_code == 429
    assert exchange("wrong", Client(REMOTE_ADDR="192.0.2.1")).status_code == 400


def test_successful_request_is_not_counted(browser: Client) -> None:
    assert exchange(allow(browser)["code"]).status_code == 200
    assert AttemptCounter.objects.get().attempts == 0

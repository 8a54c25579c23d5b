"""Dynamic registration of clients (RFC 7591)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from oauth2_provider.models import AccessToken, Application

from tests.oauth.conftest import CALLBACK, REGISTER, allow, exchange

pytestmark = pytest.mark.django_db


def register(metadata: Any, **extra: Any) -> Any:
    body = metadata if isinstance(metadata, bytes) else json.dumps(metadata)
    return Client().post(REGISTER, body, content_type="application/json", **extra)


def test_client_registers_and_connects(browser: Client) -> None:
    response = register({"redirect_uris": [CALLBACK], "client_name": "Editor"})
    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    client_id = response.json()["client_id"]
    assert response.json() == {
        "client_id": client_id,
        "client_id_issued_at": int(Application.objects.get().created.timestamp()),
        "client_name": "Editor",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
    code = allow(browser, client_id=client_id)["code"]
    assert exchange(code, client_id=client_id).status_code == 200


@pytest.mark.parametrize("method", [None, "none", "client_secret_basic", "client_secret_post"])
def test_every_client_is_public(method: str | None) -> None:
    metadata = {"redirect_uris": [CALLBACK]} | (
        {"token_endpoint_auth_method": method} if method else {}
    )
    registered = register(metadata).json()
    assert registered["token_endpoint_auth_method"] == "none"
    assert "client_secret" not in registered
    assert Application.objects.get().client_type == "public"
    assert not AccessToken.objects.exists()


@pytest.mark.parametrize(
    "uri",
    [
        "http://other.example/callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "https://other.example/#fragment",
        "https://user:password@other.example/",
        "https://other.example/\n",
        "https://other.example/ http://evil.example/",
        "https:///callback",
        "https://[::1",
        "/callback",
        "",
        7,
    ],
)
def test_dangerous_redirect_uri_is_refused(uri: Any) -> None:
    response = register({"redirect_uris": [CALLBACK, uri]})
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_redirect_uri"
    assert not Application.objects.exists()


@pytest.mark.parametrize(("length", "status"), [(16384, 201), (16385, 400)])
def test_registration_may_have_16_kib(length: int, status: int) -> None:
    metadata = json.dumps({"redirect_uris": [CALLBACK]})
    assert register(metadata.ljust(length).encode()).status_code == status


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"\xff",
        b"[" * 10_000,
        b'"text"',
        b"{" + b" " * 20_000 + b"}",
        {"redirect_uris": CALLBACK},
        {"redirect_uris": []},
        {"redirect_uris": [CALLBACK], "client_name": 7},
        {"redirect_uris": [CALLBACK], "client_name": "a\0b"},
        {"redirect_uris": [CALLBACK], "client_name": "\ud800"},
        {"redirect_uris": [CALLBACK], "client_name": "rot\u202eide"},
        {"redirect_uris": [CALLBACK], "client_name": "x" * 256},
        {"redirect_uris": [CALLBACK], "grant_types": ["implicit"]},
        {"redirect_uris": [CALLBACK], "grant_types": "authorization_code"},
    ],
)
def test_invalid_metadata_is_a_client_error(metadata: Any) -> None:
    response = register(metadata)
    assert response.status_code == 400
    has_no_list = isinstance(metadata, dict) and metadata["redirect_uris"] != [CALLBACK]
    expected = "invalid_redirect_uri" if has_no_list else "invalid_client_metadata"
    assert response.json()["error"] == expected
    assert response.json()["error_description"] not in ("", "None")
    assert not Application.objects.exists()


def test_network_is_refused_after_thirty_registrations() -> None:
    for _ in range(30):
        assert register({"redirect_uris": [CALLBACK]}).status_code == 201
    assert register({"redirect_uris": [CALLBACK]}).status_code == 429
    response = register({"redirect_uris": [CALLBACK]}, REMOTE_ADDR="192.0.2.1")
    assert response.status_code == 201


def test_registration_can_be_turned_off(client: Client, oauth_options: Any) -> None:
    oauth_options(DCR_ENABLED=False)
    assert register({"redirect_uris": [CALLBACK]}).status_code == 404
    metadata = client.get("/.well-known/oauth-authorization-server").json()
    assert "registration_endpoint" not in metadata

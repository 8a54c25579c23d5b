"""The documents from which clients learn how to sign in (RFC 8414, RFC 9728)."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

SERVER = "/.well-known/oauth-authorization-server"
RESOURCE = "/.well-known/oauth-protected-resource/mcp"


def test_resource_names_this_site_as_its_authorization_server(client: Client) -> None:
    resource = client.get(RESOURCE).json()
    assert resource["resource"] == "http://testserver/mcp"
    assert resource["authorization_servers"] == ["http://testserver"]
    assert resource["resource_name"] == "MCP Method Hub"
    assert resource["scopes_supported"] == ["mcp"]
    assert resource["bearer_methods_supported"] == ["header"]
    server = client.get(SERVER).json()
    assert server["issuer"] == "http://testserver"
    for name in ("authorization", "token", "revocation", "registration"):
        assert server[f"{name}_endpoint"].startswith("http://testserver/oauth/")


def test_server_offers_only_codes_with_s256_for_public_clients(client: Client) -> None:
    server = client.get(SERVER).json()
    assert server["response_types_supported"] == ["code"]
    assert server["grant_types_supported"] == ["authorization_code", "refresh_token"]
    assert server["code_challenge_methods_supported"] == ["S256"]
    assert server["token_endpoint_auth_methods_supported"] == ["none"]
    assert server["authorization_response_iss_parameter_supported"] is True
    assert server["client_id_metadata_document_supported"] is True


def test_urls_use_https_and_the_public_host_behind_a_load_balancer(
    client: Client, settings: Settings
) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.ALLOWED_HOSTS = ["hub.example"]
    headers = {"host": "hub.example", "x-forwarded-proto": "https"}
    assert client.get(RESOURCE, headers=headers).json()["resource"] == "https://hub.example/mcp"
    assert client.get(SERVER, headers=headers).json()["issuer"] == "https://hub.example"


@pytest.mark.parametrize("path", [SERVER, RESOURCE])
def test_unknown_host_gets_no_metadata(client: Client, settings: Settings, path: str) -> None:
    settings.ALLOWED_HOSTS = ["hub.example"]
    assert client.get(path, headers={"host": "evil.example"}).status_code == 400


def test_path_without_mcp_server_has_no_metadata(client: Client) -> None:
    assert client.get("/.well-known/oauth-protected-resource/other").status_code == 404

"""Access to MCP servers with tokens."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection
from django.test import Client as Browser
from django.utils import timezone
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
from oauth2_provider.models import AccessToken, Application
from pydantic import AnyUrl
from pytest_django import Settings
from structlog.contextvars import get_contextvars

from accounts.models import User
from config.asgi import _django
from mcp_hub import authentication, hub
from mcp_hub.authentication import require_token
from mcp_hub.server import Server
from serving import access_log
from serving.mounts import THREADS
from tests.mcp_hub.site import URL, Dealer, call, post, running
from tests.oauth.conftest import CALLBACK, fields, returned
from tests.oauth.sdk_client import Memory
from tests.serving.test_mounts import connections_in_use

pytestmark = pytest.mark.django_db(transaction=True)
PING = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})


@pytest.fixture
def token() -> AccessToken:
    """The row of the access token "secret", which is valid for the server."""
    return AccessToken.objects.create(
        token="secret",
        token_checksum=hashlib.sha256(b"secret").hexdigest(),
        user=User.objects.create_user("ada@example.com", "correct horse"),
        application=Application.objects.create(client_id="editor", name="Editor"),
        expires=timezone.now() + timedelta(hours=1),
        scope="mcp",
        resource=[URL],
    )


def ping(**headers: str) -> httpx2.Response:
    """Send a call to the site's server and return the response."""

    async def scenario() -> httpx2.Response:
        async with running(hub.server, require_token) as site:
            return await post(site, PING, **headers)

    return asyncio.run(scenario())


def test_call_without_token_learns_where_to_sign_in() -> None:
    response = ping()
    assert response.status_code == 401
    assert response.json() == {"error": "unauthorized"}
    assert response.headers["www-authenticate"] == (
        'Bearer scope="mcp",'
        'resource_metadata="http://localhost/.well-known/oauth-protected-resource/mcp"'
    )


def test_call_behind_a_load_balancer_learns_the_public_address(settings: Settings) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.ALLOWED_HOSTS = ["hub.example"]
    response = ping(host="hub.example", x_forwarded_proto="https")
    assert '"https://hub.example/.well-known/' in response.headers["www-authenticate"]


def test_unavailable_database_is_not_taken_for_an_invalid_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_args: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(authentication, "find_token", fail)
    response = ping(authorization="Bearer secret")
    assert response.status_code == 503
    assert response.headers["retry-after"]


def test_error_in_the_token_check_is_not_taken_for_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_args: Any) -> None:
        raise LookupError("planted")

    monkeypatch.setattr(authentication, "find_token", fail)
    with pytest.raises(LookupError, match="planted"):
        ping(authorization="Bearer secret")


def test_call_with_token_is_answered(token: AccessToken) -> None:
    assert ping(authorization="Bearer secret").status_code == 200
    assert ping(authorization="bearer secret").status_code == 200


def test_slow_tools_do_not_delay_token_checks(token: AccessToken) -> None:
    server = Server("slow")
    started, end = threading.Semaphore(0), threading.Event()

    @server.tool()
    def wait() -> None:
        started.release()
        end.wait(20)

    async def scenario() -> int:
        async with running(server, require_token) as site:
            body, headers = call("legacy", "wait", {})
            headers |= {"authorization": "Bearer secret"}
            calls = [asyncio.create_task(post(site, body, **headers)) for _ in range(THREADS)]
            try:
                for _ in range(THREADS):
                    assert await asyncio.to_thread(started.acquire, timeout=10)
                async with asyncio.timeout(5):
                    return (await post(site, PING)).status_code
            finally:
                end.set()
                await asyncio.gather(*calls)

    assert asyncio.run(scenario()) == 401


def test_token_check_returns_its_database_connection(token: AccessToken) -> None:
    connection.close()
    before = connections_in_use()
    assert ping(authorization="Bearer secret").status_code == 200
    assert connections_in_use() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"resource": ["http://localhost/other"]},
        {"resource": ["http://localhost"]},
        {"resource": ["https://localhost/mcp"]},
        {"resource": []},
        {"expires": timezone.now()},
        {"token": "another", "token_checksum": ""},
        {"application": None},
    ],
    ids=[
        *("other server", "whole site", "other scheme", "no audience", "expired", "unknown"),
        "without a client",
    ],
)
def test_token_that_is_not_valid_here_is_refused(
    token: AccessToken, changes: dict[str, Any]
) -> None:
    AccessToken.objects.update(**changes)
    response = ping(authorization="Bearer secret")
    assert response.status_code == 401
    assert response.json() == {"error": "invalid_token"}
    challenge = response.headers["www-authenticate"]
    assert 'scope="mcp",error="invalid_token",resource_metadata="http://localhost/' in challenge


def test_revoked_token_and_inactive_user_are_refused(token: AccessToken) -> None:
    User.objects.update(is_active=False)
    assert ping(authorization="Bearer secret").status_code == 401
    User.objects.update(is_active=True)
    assert ping(authorization="Bearer secret").status_code == 200
    token.revoke()
    assert ping(authorization="Bearer secret").status_code == 401


def test_missing_scope_is_refused_and_named(token: AccessToken) -> None:
    AccessToken.objects.update(scope="other")
    response = ping(authorization="Bearer secret")
    assert response.status_code == 403
    assert response.json() == {"error": "insufficient_scope"}
    assert 'scope="mcp",error="insufficient_scope"' in response.headers["www-authenticate"]


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Basic c2VjcmV0", "Bearer secret more", "Bearer \xff", "Bearer a\0b"]
)
def test_malformed_authorization_is_refused(token: AccessToken, header: str) -> None:
    async def scenario() -> int:
        async with (
            running(hub.server, require_token) as site,
            httpx2.AsyncClient(transport=Dealer(site)) as http,
        ):
            sent = {b"authorization": header.encode("latin-1")}
            return (await http.post(URL, content=PING, headers=sent)).status_code

    assert asyncio.run(scenario()) == 401


def test_token_in_the_query_is_not_accepted(token: AccessToken) -> None:
    async def scenario() -> int:
        async with (
            running(hub.server, require_token) as site,
            httpx2.AsyncClient(transport=Dealer(site)) as http,
        ):
            return (await http.post(f"{URL}?access_token=secret", content=PING)).status_code

    assert asyncio.run(scenario()) == 401


def test_call_is_logged_with_user_and_client_but_without_token(
    token: AccessToken, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[Any] = []
    monkeypatch.setattr(
        access_log.logger, "info", lambda *args, **extra: logged.append((args, get_contextvars()))
    )
    ping(authorization="Bearer secret")
    ((_args, context),) = logged
    assert (context["user"], context["oauth_client"]) == (str(token.user_id), "editor")
    assert "secret" not in str(logged)


def test_sdk_client_signs_in_and_calls_a_tool() -> None:
    """401, metadata, registration, PKCE, consent, token, tool; after a revocation, all again."""
    ada = User.objects.create_user("ada@example.com", "correct horse")
    returns: list[dict[str, str]] = []

    def consent(url: str) -> None:
        browser = Browser(headers={"host": "localhost"})
        browser.force_login(ada)
        page = browser.get(url)
        form = fields(page) | {"allow": "1"}
        returns.append(returned(browser.post(url, form)))
        connection.close()

    def revoke() -> None:
        AccessToken.objects.all().delete()
        connection.close()

    async def callback() -> AuthorizationCodeResult:
        last = returns[-1]
        return AuthorizationCodeResult(code=last["code"], state=last["state"], iss=last["iss"])

    async def scenario() -> list[Any]:
        provider = OAuthClientProvider(
            URL,
            OAuthClientMetadata(redirect_uris=[AnyUrl(CALLBACK)], client_name="Editor"),
            Memory(),
            sync_to_async(consent),
            callback,
        )
        callers = []
        async with (
            running(hub.server, require_token, _django) as site,
            httpx2.AsyncClient(transport=Dealer(site), auth=provider) as http,
            Client(streamable_http_client(URL, http_client=http)) as client,
        ):
            callers.append((await client.call_tool("whoami")).structured_content)
            await sync_to_async(revoke)()
            callers.append((await client.call_tool("whoami")).structured_content)
        return callers

    first, second = asyncio.run(scenario())
    assert first["user"] == second["user"] == "ada@example.com"
    assert first["scopes"] == ["mcp"]
    assert first["client"] == Application.objects.get().client_id
    assert len(returns) == 2

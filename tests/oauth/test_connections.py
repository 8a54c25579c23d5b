"""The pages where users and administrators see and end the connections of clients."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.contrib.messages import get_messages
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import AccessToken, Application, Grant, RefreshToken

from accounts.models import User
from tests.oauth.conftest import CALLBACK, allow, refresh
from tests.oauth.test_tokens import is_valid

pytestmark = pytest.mark.django_db
CONNECTIONS = "/accounts/connections/"


def disconnect_url() -> str:
    return f"{CONNECTIONS}{AccessToken.objects.get().pk}/"


def test_user_sees_and_ends_a_connection(browser: Client, tokens: dict[str, Any]) -> None:
    page = browser.get(CONNECTIONS)
    assert "Editor" in page.text
    assert f'action="{disconnect_url()}"' in page.text
    after = browser.post(disconnect_url(), follow=True)
    assert "No application is connected" in after.text
    assert not is_valid(tokens)
    assert refresh(tokens["refresh_token"]).status_code == 400


def test_connection_that_can_be_renewed_is_listed(browser: Client, tokens: dict[str, Any]) -> None:
    AccessToken.objects.update(expires=timezone.now() - timedelta(hours=1))
    assert "Editor" in browser.get(CONNECTIONS).text
    RefreshToken.objects.update(revoked=timezone.now())
    assert "Editor" not in browser.get(CONNECTIONS).text


def test_user_neither_sees_nor_ends_connections_of_others(tokens: dict[str, Any]) -> None:
    other = Client()
    other.force_login(User.objects.create_user("brook@example.com"))
    assert "Editor" not in other.get(CONNECTIONS).text
    assert other.post(disconnect_url()).status_code == 404
    assert is_valid(tokens)


def test_connections_need_a_signed_in_user_and_a_form(
    browser: Client, tokens: dict[str, Any]
) -> None:
    for response in (Client().get(CONNECTIONS), Client().post(disconnect_url())):
        assert response.headers["Location"].startswith("/accounts/login/")
    assert browser.get(disconnect_url()).status_code == 405
    assert is_valid(tokens)


def test_administrator_revokes_tokens(admin_client: Client, tokens: dict[str, Any]) -> None:
    selected = {"action": "revoke_tokens", "_selected_action": [AccessToken.objects.get().pk]}
    response = admin_client.post("/admin/oauth2_provider/accesstoken/", selected)
    assert [str(message) for message in get_messages(response.wsgi_request)] == [
        "Revoked 1 access token."
    ]
    assert not is_valid(tokens)
    assert refresh(tokens["refresh_token"]).status_code == 400


def test_administrator_adds_a_client(admin_client: Client, browser: Client) -> None:
    form = {"name": "Editor", "redirect_uris": CALLBACK}
    admin_client.post("/admin/oauth2_provider/application/add/", form)
    client_id = Application.objects.get().client_id
    listed = admin_client.get("/admin/oauth2_provider/application/", {"q": client_id}).text
    for column, text in (("name", "Editor"), ("client_id", client_id)):
        assert text in listed.split(f'class="field-{column}')[1].split("</t")[0]
    assert allow(browser, client_id=client_id)["code"]


def test_administrator_deletes_a_client_with_its_tokens(
    admin_client: Client, tokens: dict[str, Any]
) -> None:
    client = Application.objects.get()
    path = f"/admin/oauth2_provider/application/{client.pk}/delete/"
    assert admin_client.post(path, {"post": "yes"}).status_code == 302
    assert not is_valid(tokens)
    assert refresh(tokens["refresh_token"]).status_code == 401


def test_clean_up_deletes_what_expired_and_keeps_the_rest(
    browser: Client, tokens: dict[str, Any]
) -> None:
    allow(browser)
    call_command("cleartokens")
    assert is_valid(tokens)
    assert Grant.objects.exists()
    long_ago = timezone.now() - timedelta(days=31)
    AccessToken.objects.update(expires=long_ago)
    Grant.objects.update(expires=long_ago)
    call_command("cleartokens")
    assert not any(model.objects.exists() for model in (AccessToken, Grant, RefreshToken))


def test_clean_up_deletes_unused_clients_only(tokens: dict[str, Any]) -> None:
    def add(client_id: str, source: str, days: int) -> None:
        application = Application.objects.create(client_id=client_id, registration_source=source)
        created = timezone.now() - timedelta(days=days, hours=1)
        Application.objects.filter(pk=application.pk).update(created=created)

    add("unused", "dcr", 30)
    add("new", "dcr", 29)
    add("manual", "manual", 31)
    Application.objects.filter(client_id="editor").update(
        created=timezone.now() - timedelta(days=31)
    )
    call_command("clear_clients")
    remaining = set(Application.objects.values_list("client_id", flat=True))
    assert remaining == {"new", "manual", "editor"}


@pytest.mark.django_db(transaction=True)
def test_clean_up_leaves_clients_in_use_and_does_not_wait_for_them() -> None:
    for client_id in ("used", "unused"):
        Application.objects.create(client_id=client_id, registration_source="dcr")
    Application.objects.update(created=timezone.now() - timedelta(days=31))
    params: dict[str, Any] = connection.get_connection_params()
    with psycopg.connect(**params) as other:
        # As the insert of a token does.
        other.execute(
            "SELECT FROM oauth2_provider_application WHERE client_id = 'used' FOR KEY SHARE"
        )
        call_command("clear_clients")
    assert Application.objects.get().client_id == "used"

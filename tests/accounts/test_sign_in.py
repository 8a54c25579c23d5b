"""Signing in and out, and changing a password."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from tests.accounts.conftest import LOGIN, PASSWORD, sign_in, signed_in_as

pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("ada")
def test_user_signs_in_and_out(client: Client) -> None:
    assert 'href="/accounts/login/"' in client.get("/").text
    assert sign_in(client, PASSWORD).headers["Location"] == "/"
    home = client.get("/").text
    assert "Signed in as <strong>ada@example.com</strong>" in home
    assert 'action="/accounts/logout/"' in home
    assert client.get("/accounts/logout/").status_code == 405
    assert client.post("/accounts/logout/").headers["Location"] == "/"
    assert signed_in_as(client) == ""


@pytest.mark.usefixtures("ada")
def test_sign_in_redirects_to_requested_page_but_not_to_another_site(client: Client) -> None:
    login_url = client.get("/accounts/password_change/").headers["Location"]
    assert login_url == f"{LOGIN}?next=/accounts/password_change/"
    response = sign_in(client, PASSWORD, path=login_url)
    assert response.headers["Location"] == "/accounts/password_change/"
    response = sign_in(client, PASSWORD, path=f"{LOGIN}?next=//evil.example/")
    assert response.headers["Location"] == "/"


def test_forms_label_their_fields_and_describe_errors(client: Client, ada: User) -> None:
    page = sign_in(client, "wrong").text
    assert "<title>Error: Sign in" in page
    assert "Please enter a correct e-mail address and password" in page
    for name, purpose in (("username", "username"), ("password", "current-password")):
        assert f'<label for="id_{name}">' in page
        assert re.search(f'<input [^>]*autocomplete="{purpose}"[^>]*id="id_{name}"', page)
    client.force_login(ada)
    page = client.post("/accounts/password_change/", {"old_password": "wrong"}).text
    assert re.search('aria-describedby="[^"]*id_old_password_error"', page)
    assert 'id="id_old_password_error"' in page


def test_password_change_keeps_the_session_and_replaces_the_password(
    client: Client, ada: User
) -> None:
    client.force_login(ada)
    form = {"old_password": PASSWORD, "new_password1": "battery staple"}
    path = "/accounts/password_change/"
    assert client.post(path, form | {"new_password2": "other staple"}).status_code == 200
    response = client.post(path, form | {"new_password2": "battery staple"}, follow=True)
    assert "Password change successful" in response.text
    assert signed_in_as(client) == "ada@example.com"
    assert sign_in(Client(), "battery staple").status_code == 302


def test_session_of_an_earlier_release_stays_signed_in(client: Client, ada: User) -> None:
    client.force_login(ada, backend="django.contrib.auth.backends.ModelBackend")
    assert signed_in_as(client) == "ada@example.com"


@pytest.mark.parametrize(
    "former",
    ["PBKDF2PasswordHasher", "Argon2PasswordHasher"],
    ids=["pbkdf2", "argon2 with other parameters"],
)
def test_outdated_password_hash_is_replaced_at_sign_in(
    client: Client, settings: Settings, former: str
) -> None:
    # Leave out the tests' fast hasher.
    hashers = settings.PASSWORD_HASHERS[1:]
    settings.PASSWORD_HASHERS = [f"django.contrib.auth.hashers.{former}", *hashers]
    user = User.objects.create_user("ada@example.com", PASSWORD)
    before = user.password
    settings.PASSWORD_HASHERS = hashers
    assert sign_in(client, PASSWORD).status_code == 302
    user.refresh_from_db()
    assert user.password != before
    assert user.password.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")
    assert sign_in(Client(), PASSWORD).status_code == 302

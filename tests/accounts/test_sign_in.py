"""Signing in and out, changing and resetting a password, and too many wrong ones."""

from __future__ import annotations

import dataclasses
import re
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth import aauthenticate, get_user
from django.core.mail import EmailMessage
from django.test import AsyncRequestFactory, Client, RequestFactory
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from accounts.throttle import LIMITS, address

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse"
LOGIN = "/accounts/login/"
PER_PAIR, PER_ADDRESS, PER_ACCOUNT = LIMITS


@pytest.fixture
def ada() -> User:
    """Somebody with a password, who is not staff."""
    return User.objects.create_user("ada@example.com", PASSWORD)


def sign_in(
    client: Client, password: str, email: str = "ada@example.com", path: str = LOGIN, **extra: Any
) -> Any:
    return client.post(path, {"username": email, "password": password}, **extra)


def who(client: Client) -> str:
    return get_user(client).get_username()


# -- pages ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ada")
def test_signs_in_and_out(client: Client) -> None:
    assert 'href="/accounts/login/"' in client.get("/").text
    assert sign_in(client, PASSWORD).headers["Location"] == "/"
    home = client.get("/").text
    assert "Signed in as <strong>ada@example.com</strong>" in home
    assert 'action="/accounts/logout/"' in home
    assert client.get("/accounts/logout/").status_code == 405
    assert client.post("/accounts/logout/").headers["Location"] == "/"
    assert who(client) == ""


@pytest.mark.usefixtures("ada")
def test_leads_back_to_the_page_that_asked_but_to_no_other_site(client: Client) -> None:
    asked = client.get("/accounts/password_change/").headers["Location"]
    assert asked == f"{LOGIN}?next=/accounts/password_change/"
    answer = sign_in(client, PASSWORD, path=asked)
    assert answer.headers["Location"] == "/accounts/password_change/"
    away = sign_in(client, PASSWORD, path=f"{LOGIN}?next=//evil.example/")
    assert away.headers["Location"] == "/"


def test_forms_are_labelled_and_say_what_is_wrong(client: Client, ada: User) -> None:
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


def test_changes_a_password(client: Client, ada: User) -> None:
    client.force_login(ada)
    form = {"old_password": PASSWORD, "new_password1": "battery staple"}
    path = "/accounts/password_change/"
    assert client.post(path, form | {"new_password2": "other staple"}).status_code == 200
    answer = client.post(path, form | {"new_password2": "battery staple"}, follow=True)
    assert "Password change successful" in answer.text
    assert who(client) == "ada@example.com"
    assert sign_in(Client(), "battery staple").status_code == 302


@pytest.mark.usefixtures("ada")
def test_resets_a_password_once(client: Client, mailoutbox: list[EmailMessage]) -> None:
    assert "Password reset sent" in reset(client, "ada@example.com").text
    (mail,) = mailoutbox
    assert mail.to == ["ada@example.com"]
    (link,) = re.findall(r"http://testserver(/\S+)", str(mail.body))
    form = client.get(link).headers["Location"]
    assert "Enter new password" in client.get(form).text
    passwords = {"new_password1": "battery staple", "new_password2": "battery staple"}
    assert "Password reset complete" in client.post(form, passwords, follow=True).text
    assert sign_in(client, "battery staple").status_code == 302
    assert "Password reset unsuccessful" in Client().get(link).text


def test_a_reset_does_not_tell_who_has_an_account(
    client: Client, mailoutbox: list[EmailMessage]
) -> None:
    assert "Password reset sent" in reset(client, "nobody@example.com").text
    assert mailoutbox == []


def reset(client: Client, email: str) -> Any:
    return client.post("/accounts/password_reset/", {"email": email}, follow=True)


# -- hashes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "former",
    ["PBKDF2PasswordHasher", "Argon2PasswordHasher"],
    ids=["pbkdf2", "argon2 with other numbers"],
)
def test_a_former_hash_is_replaced_at_the_next_sign_in(
    client: Client, settings: Settings, former: str
) -> None:
    # Without the tests' own quick one.
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


# -- too many -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [LOGIN, "/admin/login/"])
def test_an_account_is_locked_for_an_address_that_failed_too_often(
    client: Client, ada: User, path: str
) -> None:
    ada.is_staff = True
    ada.save()
    for _ in range(PER_PAIR - 1):
        assert sign_in(client, "wrong", path=path).status_code == 200
    locked = sign_in(client, "wrong", path=path)
    assert locked.status_code == 429
    assert locked.headers["Retry-After"] == "600"
    assert "Too many failed sign-ins" in locked.text
    # Now the right one is refused too, on both pages, in any spelling of the name.
    for other in (LOGIN, "/admin/login/"):
        for email in ("ada@example.com", " ADA@Example.com"):
            assert sign_in(client, PASSWORD, email, other).status_code == 429
    # But not from elsewhere, nor another account's.
    assert sign_in(Client(), PASSWORD, REMOTE_ADDR="192.0.2.1").status_code == 302
    assert sign_in(client, "wrong", "brook@example.com").status_code == 200


def test_a_spelling_that_postgres_takes_for_the_same_is_no_new_account(client: Client) -> None:
    User.objects.create_user("admin@example.com", PASSWORD)
    assert sign_in(client, PASSWORD, "adm\u0131n@example.com").status_code == 302
    for number in range(PER_PAIR):
        sign_in(client, "wrong", f"adm{'i\u0131I'[number % 3]}n@example.com")
    assert sign_in(client, PASSWORD, "admin@example.com").status_code == 429


@pytest.mark.usefixtures("ada")
def test_an_address_is_locked_that_failed_with_many_accounts(client: Client) -> None:
    for number in range(PER_ADDRESS - 1):
        assert sign_in(client, "wrong", f"{number}@example.com").status_code == 200
    assert sign_in(client, "wrong", "one-more@example.com").status_code == 429
    assert sign_in(client, PASSWORD).status_code == 429
    assert sign_in(client, PASSWORD, REMOTE_ADDR="192.0.2.1").status_code == 302


@pytest.mark.usefixtures("ada")
def test_an_account_is_locked_that_many_addresses_failed_with(client: Client) -> None:
    for number in range(PER_ACCOUNT):
        answer = sign_in(client, "wrong", REMOTE_ADDR=f"192.0.2.{number}")
        assert answer.status_code == (429 if number == PER_ACCOUNT - 1 else 200)
    assert sign_in(client, PASSWORD, REMOTE_ADDR="198.51.100.1").status_code == 429


@pytest.mark.usefixtures("ada")
def test_a_lock_ends_however_often_it_was_tried_meanwhile(client: Client) -> None:
    for _ in range(PER_PAIR + 20):
        sign_in(client, "wrong")
    (attempt,) = AccessAttempt.objects.all()
    assert attempt.failures_since_start == PER_PAIR
    past = timezone.now() - timedelta(minutes=10)
    AccessAttempt.objects.update(attempt_time=past)
    assert sign_in(client, PASSWORD).status_code == 302
    # And nothing is left of it, nor is there a log of successes to grow.
    assert not AccessAttempt.objects.exists()
    assert not AccessLog.objects.exists()


@pytest.mark.usefixtures("ada")
def test_succeeding_with_one_account_does_not_forgive_failures_with_another(
    client: Client,
) -> None:
    User.objects.create_user("mallory@example.com", PASSWORD)
    for _ in range(PER_PAIR - 1):
        sign_in(client, "wrong")
    assert sign_in(client, PASSWORD, "mallory@example.com").status_code == 302
    assert sign_in(client, "wrong").status_code == 429


@pytest.mark.usefixtures("ada", "redis_away")
def test_throttles_without_redis(client: Client) -> None:
    answers = [sign_in(client, "wrong").status_code for _ in range(PER_PAIR)]
    assert answers == [200] * (PER_PAIR - 1) + [429]


@pytest.mark.usefixtures("ada")
def test_asynchronous_code_is_refused_too(client: Client) -> None:
    for _ in range(PER_PAIR):
        sign_in(client, "wrong")
    request = AsyncRequestFactory().post("/")
    ask = async_to_sync(aauthenticate)
    assert ask(request, username="ada@example.com", password=PASSWORD) is None


def test_odd_names_are_counted_too(client: Client) -> None:
    for name in ("é" * 50_000, "\U0001f600", "a" * 300):
        assert sign_in(client, "wrong", name, HTTP_USER_AGENT="x" * 9000).status_code == 200
    assert AccessAttempt.objects.count() == 3


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "counted"),
    [
        ("192.0.2.1", "203.0.113.9", 0, "192.0.2.1"),
        ("10.0.0.1", "spoofed, 203.0.113.9, 192.0.2.1", 1, "192.0.2.1"),
        ("10.0.0.1", "203.0.113.9", 2, "10.0.0.1"),
        ("10.0.0.1", "\xff'--", 1, "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "", 0, "2001:db8:1:2::"),
        ("fe80::1%eth0", "", 0, "fe80::"),
        ("::ffff:192.0.2.1", "", 0, "192.0.2.1"),
        ("", "", 0, None),
    ],
)
def test_the_address_is_the_clients_and_cannot_be_claimed(
    rf: RequestFactory,
    settings: Settings,
    peer: str,
    forwarded: str,
    proxies: int,
    counted: str | None,
) -> None:
    settings.ENV = dataclasses.replace(settings.ENV, TRUSTED_PROXY_COUNT=proxies)
    request = rf.post("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)
    assert address(request) == counted

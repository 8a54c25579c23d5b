"""Resetting a forgotten password by mail."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.db import connection
from django.tasks import default_task_backend
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import AttemptCounter, User
from accounts.tasks import send_password_reset
from tests.accounts.conftest import sign_in

pytestmark = pytest.mark.django_db

PATH = "/accounts/password_reset/"


@pytest.fixture
def immediate_tasks(settings: Settings) -> None:
    """Run tasks at once, in the request."""
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}


@pytest.fixture
def enqueued(settings: Settings) -> list[Any]:
    """Record tasks without running them."""
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}
    return default_task_backend.results  # type: ignore[attr-defined,no-any-return]


def request_reset(client: Client, email: str, **extra: Any) -> Any:
    return client.post(PATH, {"email": email}, follow=True, **extra)


@pytest.mark.usefixtures("ada", "immediate_tasks")
def test_link_sets_a_new_password_once(client: Client, mailoutbox: list[EmailMessage]) -> None:
    assert "E-mail address" in client.get(PATH).text
    assert "Password reset sent" in request_reset(client, "ADA@example.com").text
    (message,) = mailoutbox
    assert message.to == ["ada@example.com"]
    assert message.subject == "Password reset on testserver"
    (link,) = re.findall(r"http://testserver(/\S+)", str(message.body))
    form = client.get(link).headers["Location"]
    assert "Enter new password" in client.get(form).text
    passwords = {"new_password1": "battery staple", "new_password2": "battery staple"}
    assert "Password reset complete" in client.post(form, passwords, follow=True).text
    assert sign_in(client, "battery staple").status_code == 302
    assert "Password reset unsuccessful" in Client().get(link).text


@pytest.mark.usefixtures("ada", "immediate_tasks")
def test_link_uses_https_behind_a_load_balancer(
    client: Client, settings: Settings, mailoutbox: list[EmailMessage]
) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.ALLOWED_HOSTS = ["methodhub.example"]
    request_reset(
        client,
        "ada@example.com",
        HTTP_HOST="methodhub.example",
        HTTP_X_FORWARDED_PROTO="https",
    )
    assert "https://methodhub.example/accounts/reset/" in str(mailoutbox[0].body)


@pytest.mark.usefixtures("ada")
def test_request_does_the_same_for_known_and_unknown_addresses(
    client: Client, enqueued: list[Any], mailoutbox: list[EmailMessage]
) -> None:
    """Equal queries and tasks take equal time, so the response time reveals no account."""
    requests = []
    for email in ("ada@example.com", "nobody@example.com"):
        with CaptureQueriesContext(connection) as queries:
            response = client.post(PATH, {"email": email})
        statements = [re.sub(r"'[^']*'|_x\d+", "?", query["sql"]) for query in queries]
        requests.append((response.status_code, response.headers["Location"], statements))
    assert requests[0] == requests[1]
    assert not any("accounts_user" in statement for statement in requests[0][2])
    assert [result.kwargs or result.args for result in enqueued] == [
        ["ada@example.com", "testserver", False],
        ["nobody@example.com", "testserver", False],
    ]
    assert mailoutbox == []


@pytest.mark.usefixtures("immediate_tasks")
@pytest.mark.parametrize(
    "fields",
    [{"email": "nobody@example.com"}, {"is_active": False}, {"password": None}],
    ids=["unknown", "inactive", "without a usable password"],
)
def test_no_mail_is_sent_to_accounts_that_cannot_sign_in(
    client: Client, mailoutbox: list[EmailMessage], fields: dict[str, Any]
) -> None:
    User.objects.create_user(**{"email": "ada@example.com", "password": "correct horse"} | fields)
    assert "Password reset sent" in request_reset(client, "ada@example.com").text
    assert mailoutbox == []


@pytest.mark.usefixtures("ada")
def test_account_gets_at_most_three_mails_an_hour_and_the_answer_stays_the_same(
    client: Client, enqueued: list[Any]
) -> None:
    for number in range(10):
        email = ("ada@example.com", "ADA@example.com")[number % 2]
        response = request_reset(client, email, REMOTE_ADDR=f"192.0.2.{number}")
        assert "Password reset sent" in response.text
    assert len(enqueued) == 3
    request_reset(client, "brook@example.com")
    assert len(enqueued) == 4
    remaining = AttemptCounter.objects.get(attempts=3).expires - timezone.now()
    assert 3590 < remaining.total_seconds() <= 3600


def test_network_is_refused_after_thirty_requests(client: Client, enqueued: list[Any]) -> None:
    for number in range(30):
        assert request_reset(client, f"{number}@example.com").status_code == 200
    response = request_reset(client, "one-more@example.com")
    assert response.status_code == 429
    assert 590 < int(response.headers["Retry-After"]) <= 600
    assert len(enqueued) == 30
    response = request_reset(client, "one-more@example.com", REMOTE_ADDR="192.0.2.1")
    assert response.status_code == 200


@pytest.mark.usefixtures("ada", "enqueued")
def test_resets_and_sign_ins_do_not_use_up_each_others_limits(client: Client) -> None:
    for number in range(31):
        request_reset(client, f"{number}@example.com")
    assert sign_in(client, "correct horse").status_code == 302


@pytest.mark.usefixtures("ada")
def test_failed_mail_fails_the_task(settings: Settings) -> None:
    """The worker retries a failed task."""
    settings.MAILERS = {
        "default": {
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": "127.0.0.1", "port": 1, "timeout": 1},
        }
    }
    with pytest.raises(ConnectionRefusedError):
        send_password_reset.call("ada@example.com", "testserver", False)
    assert not hasattr(mail, "outbox") or mail.outbox == []


def test_task_for_an_invalid_address_sends_nothing() -> None:
    send_password_reset.call("no address", "testserver", False)
    assert not hasattr(mail, "outbox") or mail.outbox == []


def test_site_without_mail_server_shows_a_notice(client: Client, settings: Settings) -> None:
    settings.MAILERS = {}
    for response in (client.get(PATH), client.post(PATH, {"email": "ada@example.com"})):
        assert "This site sends no e-mail" in response.text
        assert "<h1>Password reset</h1>" in response.text
        assert "<form" not in response.text

"""Every page of the admin opens, and staff can add and change users there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_ox.models import OxSchedule, OxTask
from oauth2_provider.models import AccessToken, Application, RefreshToken

from accounts.models import User
from accounts.tasks import send_password_reset
from backends.database import connected_as_owner

REGISTERED = sorted(admin.site._registry, key=lambda model: model._meta.label)


def url(model: Any, page: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def example(model: Any) -> Any:
    """Return an object of any registered model."""
    now = timezone.now()
    if model is OxTask:
        return OxTask.objects.get(pk=send_password_reset.enqueue("ada@example.com", "", True).id)
    if model is OxSchedule:
        return OxSchedule.objects.create(
            name="one",
            trigger="interval",
            every_seconds=60,
            start_time=now,
            created_at=now,
            updated_at=now,
        )
    if model in (AccessToken, RefreshToken):
        user = User.objects.get()
        application = Application.objects.create(name="one")
        token = AccessToken.objects.create(user=user, application=application, expires=now)
        if model is AccessToken:
            return token
        return RefreshToken.objects.create(user=user, application=application, access_token=token)
    return model._default_manager.first() or model._default_manager.create(name="one")


@pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model._meta.label)
class TestEveryModel:
    """Runs for every registered model, so that new ones are covered too."""

    def test_list_search_and_add_pages_open(self, admin_client: Client, model: Any) -> None:
        assert admin_client.get(url(model, "changelist"), {"q": "a"}).status_code == 200
        assert admin_client.get(url(model, "add")).status_code in (200, 403)

    def test_change_history_and_delete_pages_open(self, admin_client: Client, model: Any) -> None:
        item = example(model)
        for page in ("change", "history"):
            response = admin_client.get(url(model, page, item.pk))
            assert response.status_code == 200, page
            # No model has pages outside of the admin.
            assert "View on site" not in response.text
        assert admin_client.get(url(model, "delete", item.pk)).status_code in (200, 403)


def test_admin_login_accepts_email_address(client: Client, superuser: User) -> None:
    login = reverse("admin:login")
    wrong = client.post(login, {"username": superuser.email, "password": "wrong"})
    assert "correct e-mail address" in wrong.text
    right = client.post(
        login, {"username": "super@example.com", "password": "correct horse", "next": "/admin/"}
    )
    assert right.headers["Location"] == "/admin/"
    page = client.get("/admin/")
    assert page.status_code == 200
    assert "| MCP Method Hub</title>" in page.text
    assert page.text.count("MCP Method Hub") > 1


def test_anonymous_visitor_is_sent_to_the_login_page(client: Client) -> None:
    assert client.get("/admin/").headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize(("words", "found"), [("edi", 1), ("abc", 1), ("other", 0)])
def test_clients_are_found_by_name_and_id(admin_client: Client, words: str, found: int) -> None:
    Application.objects.create(name="Editor", client_id="abcdef")
    page = admin_client.get(url(Application, "changelist"), {"q": words})
    assert re.search(rf"\b{found} application", page.text)


def test_admin_greets_by_name_or_address(admin_client: Client, superuser: User) -> None:
    assert "<strong>Super@example.com</strong>" in admin_client.get("/admin/").text
    User.objects.update(name="Ada")
    assert "<strong>Ada</strong>" in admin_client.get("/admin/").text


def test_superuser_adds_changes_and_deletes_a_user(admin_client: Client) -> None:
    answer = admin_client.post(
        url(User, "add"),
        {
            "email": "ada@example.com",
            "usable_password": "true",
            "password1": "correct horse",
            "password2": "correct horse",
        },
    )
    ada = User.objects.get(email="ada@example.com")
    page = admin_client.get(url(User, "change", ada.pk)).text
    assert re.findall(r"<h2[^>]*>\s*(\w+)\s*</h2>", page) == ["Permissions", "Dates"]
    assert not re.search('name="(last_login|date_joined)', page)
    assert answer.headers["Location"] == url(User, "change", ada.pk)
    assert ada.check_password("correct horse")

    admin_client.post(
        url(User, "change", ada.pk),
        {"email": "ada@example.com", "name": "Ada", "is_active": "on", "is_staff": "on"},
    )
    ada.refresh_from_db()
    assert (ada.name, ada.is_staff) == ("Ada", True)

    admin_client.post(url(User, "delete", ada.pk), {"post": "yes"})
    assert not User.objects.filter(pk=ada.pk).exists()


def test_user_without_password_is_added_and_cannot_sign_in(admin_client: Client) -> None:
    """Single sign-on, for example, needs such an account."""
    assert 'name="usable_password"' in admin_client.get(url(User, "add")).text
    admin_client.post(url(User, "add"), {"email": "ada@example.com", "usable_password": "false"})
    assert not User.objects.get(email="ada@example.com").has_usable_password()


@pytest.mark.parametrize("spelling", [str, str.upper])
def test_address_in_any_case_is_rejected_as_duplicate(
    admin_client: Client, superuser: User, spelling: Callable[[str], str]
) -> None:
    answer = admin_client.post(
        url(User, "add"),
        {
            "email": spelling(superuser.email),
            "usable_password": "true",
            "password1": "correct horse",
            "password2": "correct horse",
        },
    )
    assert "A user with that e-mail address already exists." in answer.text
    assert User.objects.count() == 1


def test_superuser_changes_a_password(admin_client: Client) -> None:
    ada = User.objects.create_user("ada@example.com", "correct horse")
    admin_client.post(
        reverse("admin:auth_user_password_change", args=[ada.pk]),
        {"usable_password": "true", "password1": "battery staple", "password2": "battery staple"},
    )
    ada.refresh_from_db()
    assert ada.check_password("battery staple")


@pytest.mark.django_db(transaction=True)
def test_large_table_is_not_counted(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of pages comes from PostgreSQL's statistics."""
    User.objects.bulk_create(User(email=f"{n}@example.com") for n in range(300))
    assert "301 users" in admin_client.get(url(User, "changelist")).text
    with connected_as_owner("default", settings.ENV) as owner, owner.cursor() as cursor:
        cursor.execute("ANALYZE accounts_user")
    monkeypatch.setattr("accounts.admin.ESTIMATE_FROM", 300)
    with CaptureQueriesContext(connection) as queries:
        page = admin_client.get(url(User, "changelist"))
    assert "301 users" in page.text
    assert page.text.count('name="_selected_action"') == 25
    assert page.text.index("10@example.com") < page.text.index("11@example.com")
    assert not [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    found = admin_client.get(url(User, "changelist"), {"q": "299@"})
    assert re.search(r"\b1 user\b", found.text)


@pytest.mark.django_db
def test_lookup_by_email_uses_the_index() -> None:
    found = User.objects.filter(email__iexact="ada@example.com")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "accounts_user_email_ci" in found.explain()

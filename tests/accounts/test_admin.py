"""Every page of the admin opens, and users can be made and changed there."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User

REGISTERED = sorted(admin.site._registry, key=lambda model: model._meta.label)


def url(model: Any, page: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


@pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model._meta.label)
class TestEveryModel:
    """One test a registered model: what is added later is covered the day it is."""

    def test_list_search_and_add_open(self, admin_client: Client, model: Any) -> None:
        assert admin_client.get(url(model, "changelist"), {"q": "a"}).status_code == 200
        assert admin_client.get(url(model, "add")).status_code in (200, 403)

    def test_change_history_and_delete_open(self, admin_client: Client, model: Any) -> None:
        item = model._default_manager.first() or model._default_manager.create(name="one")
        for page in ("change", "history", "delete"):
            assert admin_client.get(url(model, page, item.pk)).status_code == 200, page


def test_login_page_signs_in_by_email(client: Client, superuser: User) -> None:
    login = reverse("admin:login")
    wrong = client.post(login, {"username": superuser.email, "password": "wrong"})
    assert "correct e-mail address" in wrong.text
    right = client.post(
        login, {"username": "super@example.com", "password": "correct horse", "next": "/admin/"}
    )
    assert right.headers["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_nobody_gets_in_without_being_staff(client: Client) -> None:
    assert client.get("/admin/").headers["Location"].startswith("/admin/login/")


def test_adds_changes_and_deletes_a_user(admin_client: Client) -> None:
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


def test_refuses_the_same_address_in_another_case(admin_client: Client, superuser: User) -> None:
    answer = admin_client.post(
        url(User, "add"),
        {
            "email": superuser.email.upper(),
            "usable_password": "true",
            "password1": "correct horse",
            "password2": "correct horse",
        },
    )
    assert "already exists" in answer.text
    assert User.objects.count() == 1


def test_changes_a_password(admin_client: Client) -> None:
    ada = User.objects.create_user("ada@example.com", "correct horse")
    admin_client.post(
        reverse("admin:auth_user_password_change", args=[ada.pk]),
        {"usable_password": "true", "password1": "battery staple", "password2": "battery staple"},
    )
    ada.refresh_from_db()
    assert ada.check_password("battery staple")


def test_a_large_list_is_not_counted(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the table read for it: pages come by the index, their number from the statistics."""
    User.objects.bulk_create(User(email=f"{n}@example.com") for n in range(300))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE accounts_user")
    monkeypatch.setattr("accounts.admin.MANY", 300)
    with CaptureQueriesContext(connection) as queries:
        page = admin_client.get(url(User, "changelist"))
    assert "301 users" in page.text
    assert not [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    found = admin_client.get(url(User, "changelist"), {"q": "299@"})
    assert "1 user" in found.text


@pytest.mark.django_db
def test_a_user_is_found_by_index() -> None:
    found = User.objects.filter(email__iexact="ada@example.com")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "accounts_user_email_ci" in found.explain()

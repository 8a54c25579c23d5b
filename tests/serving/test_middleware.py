"""Input that PostgreSQL cannot store or evaluate gets status 400, not 500."""

from __future__ import annotations

import asyncio
import logging

import pytest
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from pytest_django import Settings

from accounts.models import User
from config.urls import urlpatterns as project


def invalid_regex(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(User.objects.filter(email__regex="(").exists())


urlpatterns = [*project, path("invalid-regex/", invalid_regex)]


@pytest.mark.parametrize("is_async", [False, True])
def test_no_middleware_needs_a_thread_of_its_own(
    settings: Settings, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    """Django runs a middleware without support for a chain in a thread, and holds the thread."""
    settings.DEBUG = True
    caplog.set_level(logging.DEBUG, "django.request")
    BaseHandler().load_middleware(is_async)
    assert caplog.messages == []


@pytest.mark.parametrize("path", ["/admin/?a=%00", "/admin/%00/"])
def test_null_byte_in_address_is_bad_request(admin_client: Client, path: str) -> None:
    response = admin_client.get(path)
    assert response.status_code == 400
    assert "with it is not valid" in response.text


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_null_byte_in_session_key_is_bad_request(client: Client, method: str) -> None:
    cookie = r'sessionid="abcdefgh\000ijklmnopqrstuvwxyz012345"'
    assert client.generic(method, "/admin/", headers={"cookie": cookie}).status_code == 400


def test_null_byte_is_bad_request_with_async_client() -> None:
    assert asyncio.run(AsyncClient().get("/?a=%00")).status_code == 400


@pytest.mark.django_db(transaction=True)
def test_admin_filter_that_postgres_refuses_is_bad_request(admin_client: Client) -> None:
    assert admin_client.get("/admin/accounts/user/?email__regex=(").status_code == 400
    assert admin_client.get("/admin/accounts/user/?email__regex=super").status_code == 200


@pytest.mark.urls(__name__)
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("method", "status"), [("GET", 400), ("HEAD", 400), ("POST", 500)])
def test_value_rejected_by_postgresql_is_bad_request_for_get_and_head_only(
    client: Client, method: str, status: int
) -> None:
    client.raise_request_exception = False
    assert client.generic(method, "/invalid-regex/").status_code == status

"""What is refused before a view or the session asks PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest
from django.test import AsyncClient, Client


@pytest.mark.parametrize("path", ["/admin/?a=%00", "/admin/%00/"])
def test_nul_is_a_bad_request(admin_client: Client, path: str) -> None:
    assert admin_client.get(path).status_code == 400


@pytest.mark.django_db
def test_nul_in_a_session_key_is_a_bad_request(client: Client) -> None:
    cookie = r'sessionid="abcdefgh\000ijklmnopqrstuvwxyz012345"'
    assert client.get("/admin/", headers={"cookie": cookie}).status_code == 400


def test_nul_is_refused_in_async_too() -> None:
    assert asyncio.run(AsyncClient().get("/?a=%00")).status_code == 400


@pytest.mark.django_db(transaction=True)
def test_a_filter_that_postgres_refuses_is_a_bad_request(admin_client: Client) -> None:
    assert admin_client.get("/admin/accounts/user/?email__regex=(").status_code == 400
    assert admin_client.get("/admin/accounts/user/?email__regex=super").status_code == 200

"""The home page."""

import asyncio
import platform
import re
from dataclasses import replace

import django
import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import AsyncClient, Client, RequestFactory
from django.utils.functional import SimpleLazyObject
from pytest_django import Settings

from accounts.models import User
from home.views import home

pytestmark = pytest.mark.django_db


def test_debug_page_shows_backing_services(rf: RequestFactory, settings: Settings) -> None:
    settings.DEBUG = True
    request = rf.get("/")
    request.user = AnonymousUser()
    page = home(request).text
    major = str(connection.pg_version // 10000)  # type: ignore[attr-defined]
    assert f"<td>{major}." in page
    info = cache.client.get_client().info("server")  # type: ignore[attr-defined]
    assert f"<td>{info.get('valkey_version') or info['redis_version']}</td>" in page
    # A round trip, which is shown as milliseconds.
    times = [float(time) for time in re.findall(r"<td>([\d.]+) ms</td>", page)]
    assert len(times) == 2
    assert all(0 < time < 1000 for time in times)
    assert "target <strong>dev</strong>" in page
    assert "home.html</code>. Edit it" in page
    for name in ("PostgreSQL", "Redis"):
        assert f'<th scope="row">{name}</th>' in page
    for version in (django.get_version(), platform.python_version()):
        assert version in page


def test_anonymous_visitor_sees_no_details_without_debug(client: Client) -> None:
    page = client.get("/").text
    assert "MCP Method Hub" in page
    assert "PostgreSQL" not in page
    assert "Django" not in page


def test_staff_see_details_without_debug(admin_client: Client) -> None:
    assert "PostgreSQL" in admin_client.get("/").text


def test_user_who_is_not_staff_sees_no_details_without_debug(client: Client) -> None:
    client.force_login(User.objects.create_user("ada@example.com"))
    page = client.get("/").text
    assert "PostgreSQL" not in page
    assert "Signed in as <strong>ada@example.com</strong>" in page


@pytest.mark.usefixtures("redis_away")
def test_redis_outage_is_shown(admin_client: Client) -> None:
    page = admin_client.get("/").text
    assert page.count("not reachable") == 1
    assert page.count(" ms</td>") == 1


def test_page_is_shown_to_a_signed_in_user_while_postgresql_is_away(rf: RequestFactory) -> None:
    def read_session() -> User:
        raise OperationalError

    request = rf.get("/")
    request.user = SimpleLazyObject(read_session)  # type: ignore[assignment]
    assert "Sign in" in home(request).text


def test_page_links_to_admin_and_probes(client: Client) -> None:
    page = client.get("/").text
    for path in ("/admin/", "/readyz", "/livez"):
        assert f'href="{path}"' in page
    # Django does not see the probes; tests/probes covers them.
    assert client.get("/admin/").status_code == 302


def test_page_shows_the_address_for_mcp_clients_if_the_server_is_on(
    client: Client, settings: Settings
) -> None:
    address = "<code>http://testserver/mcp</code>"
    assert address in client.get("/").text
    settings.ENV = replace(settings.ENV, MCP_HUB=False)
    assert address not in client.get("/").text


def test_favicon_path_redirects_to_the_icon(client: Client) -> None:
    assert client.get("/favicon.ico").headers["Location"] == "/static/icon.svg"


@pytest.mark.parametrize("file", ["site.css", "icon.svg"])
def test_static_files_are_served(client: Client, file: str) -> None:
    answer = client.get(f"/static/{file}")
    assert answer.status_code == 200
    answer.close()


def test_static_file_is_served_in_the_asynchronous_chain() -> None:
    answer = asyncio.run(AsyncClient().get("/static/site.css"))
    assert answer.status_code == 200
    answer.close()

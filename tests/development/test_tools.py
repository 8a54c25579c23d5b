"""The dev target's tools: its warning about a query that is repeated for every row, its start."""

import os
import warnings
from importlib import import_module

import pytest
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import Settings

from accounts.models import User
from development.supervisor import PRELOADED, PRELOADED_BY_WEB
from development.tools import show_toolbar
from tests import forked

# The tests run with the dev target's settings.
assert settings.DEV_TOOLS


@pytest.mark.django_db
def test_query_for_every_row_is_reported(rf: RequestFactory) -> None:
    from zeal.middleware import zeal_middleware

    for number in range(20):
        User.objects.create_user(f"{number}@example.com")

    def view(_request: HttpRequest) -> HttpResponse:
        return HttpResponse([list(user.groups.all()) for user in User.objects.all()])

    with pytest.warns(UserWarning, match=r"N\+1 detected on .*groups"):
        zeal_middleware(view)(rf.get("/"))


@pytest.mark.django_db
def test_one_query_for_all_rows_is_not_reported(rf: RequestFactory) -> None:
    from zeal.middleware import zeal_middleware

    def view(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(len(User.objects.prefetch_related("groups")))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zeal_middleware(view)(rf.get("/"))


def test_toolbar_is_shown_in_debug_mode_to_clients_outside_of_the_container(
    rf: RequestFactory, settings: Settings
) -> None:
    request = rf.get("/", REMOTE_ADDR="172.18.0.1")
    for debug in (True, False):
        settings.DEBUG = debug
        assert show_toolbar(request) is debug


@pytest.mark.parametrize("module", PRELOADED + PRELOADED_BY_WEB)
def test_module_that_makes_reloads_quick_exists(module: str) -> None:
    """runserver ignores those that it cannot import: a site without MCP has fewer packages."""
    import_module(module)


def test_start_searches_for_no_library() -> None:
    """The debug toolbar would search for GDAL, with many processes, at every start and reload."""
    code = """
import sys, django
started = []
sys.addaudithook(lambda event, given: event == "subprocess.Popen" and started.append(given))
django.setup()
print("debug_toolbar" in sys.modules, started)
"""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = forked.run("-c", code, env=env, cwd=settings.SRC.parent)
    assert done.stdout == "True []\n", done.stderr

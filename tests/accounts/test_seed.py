"""Demonstration users: the same each time."""

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command
from django.test import RequestFactory
from pytest_django import Settings

from accounts.models import User

pytestmark = pytest.mark.django_db


def rows() -> list[tuple[str, str]]:
    return list(User.objects.order_by("email").values_list("email", "name"))


def test_makes_the_same_users_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("seed", users=1005)
    first = rows()
    assert len(first) == 1005
    assert len({name for _, name in first}) > 500
    call_command("seed", users=1005)
    assert rows() == first
    assert "Made 0 users; 1005 were there already." in capsys.readouterr().out
    User.objects.all().delete()
    call_command("seed", users=1005)
    assert rows() == first


def test_its_users_can_sign_in(rf: RequestFactory) -> None:
    call_command("seed", users=2)
    assert authenticate(rf.post("/"), username="user0000002@example.com", password="demonstration")


def test_refuses_outside_the_dev_target(settings: Settings) -> None:
    settings.DEV_TOOLS = False
    with pytest.raises(CommandError, match="dev target"):
        call_command("seed")


def test_refuses_a_number_that_is_none() -> None:
    with pytest.raises(CommandError, match="1 or more"):
        call_command("seed", users=0)

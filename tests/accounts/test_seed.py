"""The demonstration users of `make seed`."""

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command
from django.test import RequestFactory
from pytest_django import Settings

from accounts.models import User

pytestmark = pytest.mark.django_db


def rows() -> list[tuple[str, str]]:
    return list(User.objects.order_by("email").values_list("email", "name"))


def test_seed_adds_the_same_users_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("seed", users=1005)
    assert "Made 1005 users; 0 were there already." in capsys.readouterr().out
    first = rows()
    assert len(first) == 1005
    assert len({name for _, name in first}) > 500
    call_command("seed", users=1005)
    assert rows() == first
    assert "Made 0 users; 1005 were there already." in capsys.readouterr().out
    User.objects.all().delete()
    call_command("seed")
    assert rows() == first[:1000]
    assert "Made 1000 users" in capsys.readouterr().out
    call_command("seed", users=1005)
    assert rows() == first


def test_seeded_users_can_sign_in(rf: RequestFactory) -> None:
    for number in (1, 2):
        call_command("seed", "--users", str(number))
        email = f"user000000{number}@example.com"
        assert authenticate(rf.post("/"), username=email, password="demonstration")


def test_seed_is_refused_outside_the_dev_target(settings: Settings) -> None:
    settings.DEV_TOOLS = False
    with pytest.raises(CommandError, match="dev target"):
        call_command("seed")


def test_seed_of_zero_users_is_refused() -> None:
    with pytest.raises(CommandError, match="1 or more"):
        call_command("seed", users=0)

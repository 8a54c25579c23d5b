"""The user model and the commands that create users."""

import dataclasses
import io

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import RequestFactory
from pytest_django import Settings

from accounts.models import AttemptCounter, User

pytestmark = pytest.mark.django_db


def test_user_signs_in_by_email_in_any_case(rf: RequestFactory) -> None:
    user = User.objects.create_user("Ada@Example.com", "correct horse")
    assert authenticate(rf.post("/"), username="ada@EXAMPLE.com", password="correct horse") == user
    assert authenticate(rf.post("/"), username="ada@example.com", password="wrong") is None


def test_user_signs_in_without_a_request() -> None:
    """As code that checks a password outside a view does."""
    user = User.objects.create_user("ada@example.com", "correct horse")
    assert authenticate(email="ada@example.com", password="correct horse") == user
    assert authenticate(email="ada@example.com", password="wrong") is None
    # The next backend, Django's own, would not count it.
    assert AttemptCounter.objects.get().attempts == 1


def test_sign_in_without_password_is_no_attempt(rf: RequestFactory) -> None:
    User.objects.create_user("ada@example.com", "correct horse")
    assert authenticate(rf.post("/"), username="ada@example.com", password=None) is None
    assert not AttemptCounter.objects.exists()


def test_user_signs_in_from_async_code(rf: RequestFactory) -> None:
    user = User.objects.create_user("ada@example.com", "correct horse")
    sign_in = async_to_sync(aauthenticate)
    assert sign_in(rf.post("/"), username="ADA@example.com", password="correct horse") == user
    assert sign_in(email="ada@example.com", password="correct horse") == user
    assert sign_in(email="ada@example.com", password="wrong") is None
    assert AttemptCounter.objects.filter(attempts=1).count() == 1
    assert async_to_sync(User.objects.aget_by_natural_key)("ADA@example.com") == user


def test_address_in_another_case_is_a_duplicate() -> None:
    User.objects.create_user("ada@example.com")
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.bulk_create([User(email="ADA@example.com")])
    with pytest.raises(ValidationError, match="already exists"):
        User(email="ADA@example.com", password="x").full_clean()


def test_user_without_password_cannot_sign_in(rf: RequestFactory) -> None:
    user = User.objects.create_user("ada@example.com")
    assert not user.has_usable_password()
    assert authenticate(rf.post("/"), username="ada@example.com", password="") is None


def test_inactive_user_cannot_sign_in(rf: RequestFactory) -> None:
    User.objects.create_user("ada@example.com", "correct horse", is_active=False)
    assert authenticate(rf.post("/"), username="ada@example.com", password="correct horse") is None


def test_user_without_address_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^A user needs an e-mail address"):
        User.objects.create_user("")


def test_new_user_has_no_permissions_and_superuser_has_all() -> None:
    user = User.objects.create_user("user@example.com")
    superuser = User.objects.create_superuser("super@example.com", "correct horse")
    assert (user.is_staff, user.is_superuser) == (False, False)
    assert (superuser.is_staff, superuser.is_superuser) == (True, True)
    assert str(user) == "user@example.com"


def test_sessions_of_earlier_releases_stay_valid() -> None:
    """Their hash is Django's own."""
    user = User.objects.create_user("ada@example.com", "correct horse")
    assert user.get_session_auth_hash() == AbstractBaseUser.get_session_auth_hash(user)


def test_createsuperuser_needs_no_username() -> None:
    call_command("createsuperuser", email="super@example.com", interactive=False, verbosity=0)
    assert User.objects.get().is_superuser


class TestEnsureSuperuser:
    """The command that runs at every start of the dev target."""

    def test_superuser_is_made_once_and_keeps_a_changed_password(self, settings: Settings) -> None:
        call_command("ensure_superuser")
        user = User.objects.get()
        assert user.is_superuser
        assert user.email == settings.ENV.DJANGO_SUPERUSER_EMAIL
        assert user.check_password(settings.ENV.DJANGO_SUPERUSER_PASSWORD)
        user.set_password("changed")
        user.save()
        call_command("ensure_superuser")
        assert User.objects.get().check_password("changed")

    @pytest.mark.django_db(transaction=True)
    def test_migrate_makes_the_superuser_on_request(self) -> None:
        call_command("migrate", verbosity=0)
        assert not User.objects.exists()
        output = io.StringIO()
        call_command("migrate", ensure_superuser=True, verbosity=0, stdout=output)
        user = User.objects.get()
        assert user.is_superuser
        assert f"Made the superuser {user.email}." in output.getvalue()

    def test_missing_variables_are_named(self, settings: Settings) -> None:
        settings.ENV = dataclasses.replace(settings.ENV, DJANGO_SUPERUSER_PASSWORD=None)
        with pytest.raises(CommandError, match="DJANGO_SUPERUSER_PASSWORD"):
            call_command("ensure_superuser")

    def test_command_is_refused_in_the_ecs_target(self, settings: Settings) -> None:
        settings.ENV = dataclasses.replace(settings.ENV, TARGET="ecs")
        with pytest.raises(CommandError, match="dev target only"):
            call_command("ensure_superuser")
        assert not User.objects.exists()


def test_demonstration_users_load_and_sign_in(rf: RequestFactory) -> None:
    call_command("loaddata", "demonstration", verbosity=0)
    assert User.objects.count() == 3
    assert (
        authenticate(rf.post("/"), username="ada@example.com", password="demonstration") is not None
    )

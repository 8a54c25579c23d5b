"""Limits on failed sign-ins. README.md and ARCHITECTURE.md promise the numbers."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from django.utils import timezone
from pytest_django import Settings

from accounts.auth_backend import sign_in_limits
from accounts.devices import COOKIE
from accounts.hashers import Argon2
from accounts.models import AttemptCounter, User
from accounts.throttle import TooManyAttemptsError, count_attempt, networks
from tests.accounts.conftest import LOGIN, PASSWORD, sign_in

pytestmark = pytest.mark.django_db

# Failures in ten minutes.
PER_ACCOUNT_AND_NETWORK = 5
PER_NETWORK = 30
PER_SITE = 120
PER_ACCOUNT = 50


def fail(email: str, address: str = "127.0.0.1", **extra: Any) -> bool:
    """Try a wrong password, without the page; return whether further attempts are refused."""
    request = RequestFactory().post("/", REMOTE_ADDR=address, **extra)
    try:
        authenticate(request, username=email, password="wrong")
    except TooManyAttemptsError:
        return True
    return False


def lock_by_strangers(email: str = "ada@example.com") -> None:
    """Lock an account for everybody, from fifty networks."""
    for number in range(PER_ACCOUNT):
        fail(email, f"2001:db8:{number:x}::1")
    AttemptCounter.objects.filter(attempts__lt=PER_ACCOUNT).delete()


@pytest.mark.parametrize("path", [LOGIN, "/admin/login/"])
def test_account_is_locked_for_a_network_after_five_failures(
    client: Client, ada: User, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    ada.is_staff = True
    ada.save()
    for _ in range(PER_ACCOUNT_AND_NETWORK - 1):
        assert sign_in(client, "wrong", path=path).status_code == 200
    locked = sign_in(client, "wrong", path=path)
    assert locked.status_code == 429
    assert (locked.headers["Retry-After"], locked.headers["Cache-Control"]) == ("600", "no-store")
    assert "Too many attempts" in locked.text
    assert "in 10 minutes" in locked.text
    assert "Too many failed attempts: refused for the next 0:10:00." in caplog.messages
    # The right password is refused too, on both pages and in any spelling of the address.
    for other in (LOGIN, "/admin/login/"):
        for email in ("ada@example.com", " ADA@Example.com"):
            assert sign_in(client, PASSWORD, email, other).status_code == 429
    # Other networks and other accounts are not affected.
    assert sign_in(Client(), PASSWORD, REMOTE_ADDR="192.0.2.1").status_code == 302
    assert sign_in(client, "wrong", "brook@example.com").status_code == 200


def test_spelling_that_postgresql_treats_as_equal_is_the_same_account(client: Client) -> None:
    User.objects.create_user("admin@example.com", PASSWORD)
    assert sign_in(Client(), PASSWORD, "adm\u0131n@example.com").status_code == 302
    for number in range(PER_ACCOUNT_AND_NETWORK):
        sign_in(client, "wrong", f"adm{'i\u0131I'[number % 3]}n@example.com")
    assert sign_in(client, PASSWORD, "admin@example.com").status_code == 429


@pytest.mark.usefixtures("ada")
def test_network_is_locked_after_thirty_failures_with_many_accounts(client: Client) -> None:
    for number in range(PER_NETWORK - 1):
        assert not fail(f"{number}@example.com")
    assert sign_in(client, "wrong", "one-more@example.com").status_code == 429
    assert sign_in(client, PASSWORD).status_code == 429
    assert sign_in(client, PASSWORD, REMOTE_ADDR="192.0.2.1").status_code == 302


@pytest.mark.usefixtures("ada")
def test_site_with_many_ipv6_networks_is_locked_after_120_failures(client: Client) -> None:
    for number in range(PER_SITE):
        refused = fail(f"{number}@example.com", f"2001:db8:1:{number:x}::1")
        assert refused == (number == PER_SITE - 1)
    assert sign_in(client, PASSWORD, REMOTE_ADDR="2001:db8:1:ffff::1").status_code == 429
    assert sign_in(client, PASSWORD, REMOTE_ADDR="2001:db8:2::1").status_code == 302


@pytest.mark.usefixtures("ada")
def test_one_ipv6_site_cannot_lock_an_account_for_others(client: Client) -> None:
    for number in range(PER_ACCOUNT):
        fail("ada@example.com", f"2001:db8:1:{number % 10:x}::{number:x}")
    assert sign_in(client, PASSWORD, REMOTE_ADDR="2001:db8:1:a::1").status_code == 429
    assert sign_in(client, PASSWORD, REMOTE_ADDR="2001:db8:2::1").status_code == 302


@pytest.mark.usefixtures("ada")
def test_account_is_locked_after_fifty_failures_from_many_networks(client: Client) -> None:
    for number in range(PER_ACCOUNT):
        assert fail("ada@example.com", f"192.0.2.{number}") == (number == PER_ACCOUNT - 1)
    assert sign_in(client, PASSWORD, REMOTE_ADDR="198.51.100.1").status_code == 429


@pytest.mark.usefixtures("ada")
def test_failures_without_a_request_count_for_their_account_only(client: Client) -> None:
    for _ in range(PER_ACCOUNT - 1):
        assert authenticate(None, username="ada@example.com", password="wrong") is None
    with pytest.raises(TooManyAttemptsError):
        authenticate(None, username="ada@example.com", password="wrong")
    assert authenticate(None, username="brook@example.com", password="wrong") is None
    # The pages count them too.
    assert sign_in(client, PASSWORD).status_code == 429


@pytest.mark.usefixtures("ada")
def test_stranger_behind_the_load_balancer_does_not_lock_others_out(
    client: Client, settings: Settings
) -> None:
    settings.ENV = dataclasses.replace(settings.ENV, TRUSTED_PROXY_COUNT=1)
    for number in range(PER_NETWORK):
        fail(f"{number}@example.com", "10.0.0.1", HTTP_X_FORWARDED_FOR="203.0.113.9")
    stranger, other = (
        sign_in(client, PASSWORD, REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=address)
        for address in ("203.0.113.9", "192.0.2.1")
    )
    assert (stranger.status_code, other.status_code) == (429, 302)


@pytest.mark.usefixtures("ada")
def test_lockout_lasts_ten_minutes_despite_further_attempts(client: Client) -> None:
    for _ in range(PER_ACCOUNT_AND_NETWORK - 1):
        sign_in(client, "wrong")
    # The last failure starts the ten minutes, however long ago the first was.
    AttemptCounter.objects.update(expires=Now() + timedelta(seconds=30))
    sign_in(client, "wrong")
    counter = AttemptCounter.objects.get(locked=True)
    assert counter.expires - timezone.now() > timedelta(minutes=9)
    # Every attempt during the lockout is refused, and none extends it.
    AttemptCounter.objects.filter(attempts=PER_ACCOUNT_AND_NETWORK).update(
        expires=Now() + timedelta(minutes=4, seconds=50)
    )
    for _ in range(PER_NETWORK):
        response = sign_in(client, PASSWORD)
        assert response.status_code == 429
    assert 280 < int(response.headers["Retry-After"]) <= 290
    assert "in 5 minutes" in response.text
    AttemptCounter.objects.update(expires=Now())
    assert sign_in(client, PASSWORD).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_next_attempt_is_accepted_once_all_counters_have_room() -> None:
    count_attempt({"a": 1}, timedelta(minutes=1))
    count_attempt({"b": 1}, timedelta(minutes=5))
    count_attempt({"c": 1}, timedelta(minutes=2))
    with pytest.raises(TooManyAttemptsError) as refused:
        count_attempt({"a": 1, "b": 1, "c": 1})
    assert 290 < refused.value.retry_after <= 300


@pytest.mark.usefixtures("ada")
def test_refused_attempts_do_not_use_up_other_limits(client: Client) -> None:
    for _ in range(PER_ACCOUNT + PER_NETWORK):
        fail("ada@example.com")
    assert sign_in(client, "wrong", "brook@example.com").status_code == 200
    assert sign_in(client, PASSWORD, REMOTE_ADDR="192.0.2.1").status_code == 302


@pytest.mark.usefixtures("ada")
def test_lockout_is_logged_once_as_a_warning(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(PER_ACCOUNT_AND_NETWORK + 5):
        sign_in(client, "wrong")
    lines = [record for record in caplog.records if record.name.startswith("accounts")]
    assert [line.levelname for line in lines] == ["WARNING"]
    assert "ada" not in caplog.text


def test_expired_counters_are_deleted(client: Client) -> None:
    for number in range(20):
        fail(f"{number}@example.com")
    AttemptCounter.objects.update(expires=Now() - timedelta(minutes=1))
    sign_in(client, "wrong")
    assert AttemptCounter.objects.count() == 3


@pytest.mark.usefixtures("ada")
def test_successful_sign_ins_are_not_counted(client: Client) -> None:
    for _ in range(PER_ACCOUNT_AND_NETWORK + 1):
        assert sign_in(Client(), PASSWORD).status_code == 302
    assert AttemptCounter.objects.exists()
    assert sum(AttemptCounter.objects.values_list("attempts", flat=True)) == 0


@pytest.mark.usefixtures("ada")
def test_success_with_one_account_does_not_forgive_failures_with_another(client: Client) -> None:
    User.objects.create_user("mallory@example.com", PASSWORD)
    for _ in range(PER_ACCOUNT_AND_NETWORK - 1):
        sign_in(client, "wrong")
    assert sign_in(client, PASSWORD, "mallory@example.com").status_code == 302
    assert sign_in(client, "wrong").status_code == 429


@pytest.mark.usefixtures("ada", "redis_away")
def test_throttle_works_without_redis(client: Client) -> None:
    statuses = [sign_in(client, "wrong").status_code for _ in range(PER_ACCOUNT_AND_NETWORK)]
    assert statuses == [200] * (PER_ACCOUNT_AND_NETWORK - 1) + [429]


@pytest.mark.usefixtures("ada")
def test_asynchronous_code_is_throttled_too(client: Client) -> None:
    for _ in range(PER_ACCOUNT_AND_NETWORK):
        sign_in(client, "wrong")
    request = AsyncRequestFactory().post("/")
    with pytest.raises(TooManyAttemptsError):
        async_to_sync(aauthenticate)(request, username="ada@example.com", password=PASSWORD)
    response = async_to_sync(AsyncClient().post)(
        LOGIN, {"username": "ada@example.com", "password": PASSWORD}
    )
    assert response.status_code == 429


def test_unusual_user_names_are_counted(client: Client) -> None:
    for name in ("é" * 50_000, "\U0001f600", "a" * 300):
        for _ in range(PER_ACCOUNT_AND_NETWORK):
            response = sign_in(client, "wrong", name, HTTP_USER_AGENT="x" * 9000)
        assert response.status_code == 429


class CountingHasher(Argon2):
    """The real hasher, which counts its checks. It is slow enough for guesses to overlap."""

    algorithm = "counting"
    checked = 0

    def verify(self, password: str, encoded: str) -> bool:
        type(self).checked += 1
        return super().verify(password, encoded)


@pytest.mark.django_db(transaction=True)
def test_parallel_guesses_do_not_exceed_the_limit(ada: User, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = [f"{__name__}.CountingHasher"]
    ada.set_password(PASSWORD)
    ada.save()

    def guess(_number: int) -> int:
        try:
            return int(sign_in(Client(), "wrong").status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(guess, range(60)))
    assert statuses.count(200) == PER_ACCOUNT_AND_NETWORK - 1
    assert statuses.count(429) == 60 - statuses.count(200)
    assert CountingHasher.checked == PER_ACCOUNT_AND_NETWORK


@pytest.mark.django_db(transaction=True)
def test_attempt_deletes_a_hundred_expired_counters_and_waits_for_no_other(
    ada: User, client: Client
) -> None:
    expired = timezone.now() - timedelta(days=1)
    AttemptCounter.objects.bulk_create(
        AttemptCounter(key=str(number), attempts=1, expires=expired) for number in range(150)
    )
    old = AttemptCounter.objects.filter(expires=expired)
    params: dict[str, Any] = connection.get_connection_params()
    with psycopg.connect(**params) as other:
        other.execute("SELECT FROM accounts_attemptcounter FOR UPDATE")
        assert sign_in(client, PASSWORD).status_code == 302
    assert old.count() == 150
    sign_in(client, PASSWORD)
    assert old.count() == 50


@pytest.mark.django_db(transaction=True)
def test_many_people_can_sign_in_at_once_from_one_network(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = settings.PASSWORD_HASHERS[1:]
    password = make_password(PASSWORD)
    emails = [f"user{number}@example.com" for number in range(8)]
    User.objects.bulk_create(User(email=email, password=password) for email in emails)
    # Attempts that are still being checked leave room for four at once.
    for number in range(PER_NETWORK - 4):
        count_attempt(sign_in_limits(RequestFactory().post("/"), f"{number}@example.com"))

    def visit(email: str) -> int:
        try:
            return int(sign_in(Client(), PASSWORD, email).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(visit, emails)) == [302] * len(emails)


@pytest.mark.waits
def test_sign_in_is_refused_if_pending_attempts_do_not_end(client: Client, ada: User) -> None:
    for _ in range(PER_ACCOUNT_AND_NETWORK):
        count_attempt(sign_in_limits(RequestFactory().post("/"), ada.email))
    response = sign_in(client, PASSWORD)
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "1"


@pytest.mark.django_db(transaction=True)
def test_sign_in_inside_a_transaction_raises_an_error(rf: RequestFactory) -> None:
    """With ATOMIC_REQUESTS, the 429 response would roll the count back."""
    request = rf.post("/", {"username": "ada@example.com", "password": "wrong"})
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        async_to_sync(aauthenticate)(request, username="ada@example.com", password="wrong")


@pytest.mark.usefixtures("ada")
def test_clear_lockouts_ends_every_lockout(client: Client) -> None:
    for _ in range(PER_ACCOUNT_AND_NETWORK):
        sign_in(client, "wrong")
    call_command("clear_lockouts")
    assert sign_in(client, PASSWORD).status_code == 302


class TestKnownDevice:
    """A browser on which the account has signed in before."""

    @pytest.fixture
    def device(self, ada: User) -> Client:
        client = Client()
        sign_in(client, PASSWORD)
        client.post("/accounts/logout/")
        return client

    def test_known_device_is_not_locked_out_by_strangers(
        self, device: Client, client: Client
    ) -> None:
        lock_by_strangers()
        for number in range(PER_NETWORK):
            fail(f"{number}@example.com")
        assert sign_in(client, PASSWORD).status_code == 429
        assert sign_in(device, PASSWORD).status_code == 302

    def test_known_device_has_five_failures_of_its_own(
        self, device: Client, client: Client
    ) -> None:
        other = Client()
        sign_in(other, PASSWORD)
        other.post("/accounts/logout/")
        statuses = [sign_in(device, "wrong").status_code for _ in range(5)]
        assert statuses == [200] * 4 + [429]
        assert sign_in(device, PASSWORD).status_code == 429
        assert sign_in(other, PASSWORD).status_code == 302
        assert sign_in(client, PASSWORD).status_code == 302

    def test_many_devices_of_an_account_share_fifty_failures(self, ada: User) -> None:
        devices = [Client() for _ in range(12)]
        for device in devices:
            sign_in(device, PASSWORD)
        User.objects.create_user("brook@example.com", PASSWORD)
        sign_in(devices[11], PASSWORD, "brook@example.com")
        for number in range(PER_ACCOUNT):
            cookie = devices[number % 11].cookies[COOKIE].value
            fail("ada@example.com", HTTP_COOKIE=f"{COOKIE}={cookie}")
        assert sign_in(devices[11], PASSWORD).status_code == 429
        assert sign_in(devices[11], PASSWORD, "brook@example.com").status_code == 302

    def test_failures_on_a_shared_device_lock_their_account_only(self, device: Client) -> None:
        User.objects.create_user("brook@example.com", PASSWORD)
        sign_in(device, PASSWORD, "brook@example.com")
        for _ in range(5):
            sign_in(device, "wrong")
        assert sign_in(device, PASSWORD).status_code == 429
        assert sign_in(device, PASSWORD, "brook@example.com").status_code == 302

    def test_device_known_to_one_account_is_a_stranger_to_another(self, client: Client) -> None:
        User.objects.create_user("mallory@example.com", PASSWORD)
        User.objects.create_user("brook@example.com", PASSWORD)
        sign_in(client, PASSWORD, "mallory@example.com")
        lock_by_strangers("brook@example.com")
        assert sign_in(client, PASSWORD, "brook@example.com").status_code == 429
        assert sign_in(client, PASSWORD, "mallory@example.com").status_code == 302

    def test_shared_device_is_known_to_its_last_five_accounts(self, client: Client) -> None:
        emails = [f"user{number}@example.com" for number in range(6)]
        for email in emails:
            User.objects.create_user(email, PASSWORD)
            sign_in(client, PASSWORD, email)
        for email in emails[:2]:
            lock_by_strangers(email)
        statuses = [sign_in(client, PASSWORD, email).status_code for email in emails[:2]]
        assert statuses == [429, 302]
        assert len(client.cookies[COOKIE].value) < 1000

    def test_forged_cookie_is_ignored(self, device: Client, client: Client) -> None:
        good = device.cookies[COOKIE].value
        lock_by_strangers()
        for bad in ("", "x", f"x{good}", good[:-1], f'"{good}\\000"'):
            device.cookies[COOKIE] = bad
            assert sign_in(device, PASSWORD).status_code in (400, 429), bad

    def test_cookie_expires_after_400_days(
        self, device: Client, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock_by_strangers()
        later = timezone.now().timestamp() + timedelta(days=400).total_seconds() + 60
        monkeypatch.setattr("django.core.signing.time.time", lambda: later)
        assert sign_in(device, PASSWORD).status_code == 429

    def test_cookie_survives_rotation_of_the_secret_key(
        self, device: Client, client: Client, settings: Settings
    ) -> None:
        lock_by_strangers()
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another key, as long as the first one was, if not longer"
        assert sign_in(device, PASSWORD).status_code == 302
        settings.SECRET_KEY_FALLBACKS = []
        assert sign_in(device, PASSWORD).status_code == 302

    @pytest.mark.parametrize("secure", [True, False])
    def test_cookie_cannot_be_read_by_scripts_or_sent_by_other_sites(
        self, ada: User, client: Client, settings: Settings, secure: bool
    ) -> None:
        settings.SESSION_COOKIE_SECURE = secure
        sign_in(client, PASSWORD)
        cookie = client.cookies[COOKIE]
        assert cookie["httponly"]
        assert bool(cookie["secure"]) is secure
        assert cookie["samesite"] == "Lax"
        assert cookie["max-age"] == 400 * 24 * 60 * 60
        assert "ada" not in cookie.value

    def test_async_middleware_sets_the_cookie_too(self, ada: User) -> None:
        form = {"username": ada.email, "password": PASSWORD}
        response = async_to_sync(AsyncClient().post)(LOGIN, form)
        assert COOKIE in response.cookies

    def test_failed_sign_in_sets_no_cookie(self, ada: User, client: Client) -> None:
        sign_in(client, "wrong")
        assert COOKIE not in client.cookies


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "counted"),
    [
        ("192.0.2.1", "203.0.113.9", 0, ("192.0.2.1",)),
        ("10.0.0.1", "spoofed, 203.0.113.9, 192.0.2.1", 1, ("192.0.2.1",)),
        ("10.0.0.1", "203.0.113.9", 2, ("10.0.0.1",)),
        ("10.0.0.1", "\xff'--", 1, ("10.0.0.1",)),
        ("2001:db8:1:2:3:4:5:6", "", 0, ("2001:db8:1:2::/64", "2001:db8:1::/48")),
        ("fe80::1%eth0", "", 0, ("fe80::/64", "fe80::/48")),
        ("::ffff:192.0.2.1", "", 0, ("192.0.2.1",)),
        ("", "", 0, ("",)),
    ],
)
def test_counted_network_is_the_clients_and_cannot_be_spoofed(
    rf: RequestFactory,
    settings: Settings,
    peer: str,
    forwarded: str,
    proxies: int,
    counted: tuple[str, ...],
) -> None:
    settings.ENV = dataclasses.replace(settings.ENV, TRUSTED_PROXY_COUNT=proxies)
    request = rf.post("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)
    if not peer:
        # As on a Unix socket.
        del request.META["REMOTE_ADDR"]
    assert networks(request) == counted

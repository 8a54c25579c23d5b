"""Sessions while Redis is away, and after it has returned."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client, override_settings
from pytest_django import Settings

from accounts.models import User
from backends.cache import RETRY_AFTER_FAILURE
from backends.sessions import CacheGeneration, SessionStore
from tests.backends.conftest import wait_for
from tests.backends.proxy import Proxy

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/accounts/password_change/"


@contextlib.contextmanager
def process(generation: CacheGeneration | None = None, **changes: Any) -> Iterator[None]:
    """Act as another process, by default a new one, with these settings changed."""
    ours = SessionStore.generation
    SessionStore.generation = generation or CacheGeneration()
    try:
        with override_settings(**changes):
            yield
    finally:
        SessionStore.generation = ours


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    """Keep what earlier tests' processes knew out of each test."""
    with process():
        yield


@pytest.fixture
def cut_off(redis: Proxy, settings: Settings) -> CutOff:
    """A process that can be cut off from Redis, beside one that reaches Redis all the time."""
    behind_proxy = settings.CACHES["default"]
    direct = {"default": behind_proxy | {"LOCATION": settings.ENV.REDIS_URL}}
    unaware = CacheGeneration()
    with process(unaware, CACHES=direct):
        unaware.renew()
    return CutOff(redis, unaware, direct)


@dataclasses.dataclass
class CutOff:
    """The process of a test, which reaches Redis through ``redis``, and another one."""

    redis: Proxy
    unaware: CacheGeneration
    direct: dict[str, Any]

    def elsewhere(self) -> contextlib.AbstractContextManager[None]:
        """Act as a process that has known Redis from before, and never sees it away."""
        return process(self.unaware, CACHES=self.direct)

    def replaced(self) -> contextlib.AbstractContextManager[None]:
        """Act as a process that has just started, and reaches Redis."""
        return process(CACHES=self.direct)


def stored(**values: object) -> str:
    """Save a new session, and have it cached; return its key."""
    session = SessionStore()
    session.update(values)
    session.save()
    assert session.session_key
    SessionStore(session.session_key).load()
    return session.session_key


def read(session: SessionStore) -> object:
    """Return what a request would find in the session."""
    return SessionStore(session.session_key).get("v")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    assert client.get(PAGE).status_code == 200
    return client


def copy_of(client: Client) -> Client:
    """A client with the same cookies, as a thief of them has."""
    other = Client()
    other.cookies.load(client.cookies.output(header="", sep=";"))
    return other


def test_sign_out_during_redis_outage_holds_in_every_process(
    cut_off: CutOff, superuser: User
) -> None:
    client = signed_in(superuser)
    old = copy_of(client)
    cut_off.redis.pause()
    client.post("/accounts/logout/")
    with cut_off.elsewhere():
        assert old.get(PAGE).status_code == 302
    cut_off.redis.resume()
    assert old.get(PAGE).status_code == 302
    assert not Session.objects.exists()


def test_sign_out_ends_one_session_when_redis_answers(redis: Proxy, superuser: User) -> None:
    client, other = signed_in(superuser), signed_in(superuser)
    old = copy_of(client)
    client.post("/accounts/logout/")
    assert old.get(PAGE).status_code == 302
    assert other.get(PAGE).status_code == 200


@pytest.mark.parametrize("change", ["password", "active"])
def test_change_of_user_during_redis_outage_ends_sessions(
    cut_off: CutOff, superuser: User, change: str
) -> None:
    client = signed_in(superuser)
    cut_off.redis.pause()
    if change == "password":
        superuser.set_password("another horse")
    else:
        superuser.is_active = False
    superuser.save()
    old = copy_of(client)
    with cut_off.elsewhere():
        assert old.get(PAGE).status_code == 302
    assert client.get(PAGE).status_code == 302


def test_refused_cookie_does_not_end_other_sessions(redis: Proxy, superuser: User) -> None:
    old = signed_in(superuser)
    superuser.set_password("another horse")
    superuser.save()
    current = signed_in(superuser)
    redis.pause()
    assert old.get(PAGE).status_code == 302
    redis.resume()
    assert current.get(PAGE).status_code == 200


def test_sign_out_during_redis_outage_and_key_rotation_holds(
    redis: Proxy, superuser: User, settings: Settings
) -> None:
    session = signed_in(superuser).session
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another " * 10
    redis.pause()
    session.flush()
    superuser.refresh_from_db()
    assert superuser.session_epoch == 1


def test_session_saved_during_redis_outage_is_read_back_after_it(cut_off: CutOff) -> None:
    session = SessionStore(stored(v=1))
    session["v"] = 2
    cut_off.redis.pause()
    session.save()
    assert read(session) == 2
    cut_off.redis.resume()
    assert read(session) == 2
    # Without a further request here, a process that knows of no outage learns of it.
    with cut_off.elsewhere():
        wait_for(lambda: read(session) == 2, 3)


def test_process_that_replaces_a_killed_one_reads_its_last_save(
    cut_off: CutOff, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A killed process has no thread that starts a new generation.
    monkeypatch.setattr(CacheGeneration, "write_missed", lambda _generation: None)
    session = SessionStore(stored(v=1))
    session["v"] = 2
    cut_off.redis.pause()
    session.save()
    with cut_off.replaced():
        assert read(session) == 2


def test_command_that_redis_executes_late_is_ignored(cut_off: CutOff) -> None:
    session = SessionStore(stored(v=1))
    session["v"] = 2
    cut_off.redis.pause()
    # Sent, and given up after REDIS_TIMEOUT; the next is not even sent.
    session.save()
    session["v"] = 3
    session.save()
    cut_off.redis.resume()
    with cut_off.elsewhere():
        wait_for(lambda: read(session) == 3, 3)
    assert read(session) == 3


def test_flushed_anonymous_session_stays_empty_after_redis_outage(redis: Proxy) -> None:
    session = SessionStore(stored(v=1))
    redis.pause()
    SessionStore(session.session_key).flush()
    redis.resume()
    time.sleep(RETRY_AFTER_FAILURE)
    assert read(session) is None


def test_load_and_save_are_one_redis_command_each(
    redis: Proxy,
    django_assert_num_queries: Callable[[int], contextlib.AbstractContextManager[None]],
) -> None:
    session = SessionStore(stored(v=1))
    before = redis.sent
    with django_assert_num_queries(0):
        assert session["v"] == 1
    assert redis.sent == before + 1
    session["v"] = 2
    session.save()
    assert redis.sent == before + 2


def test_expired_session_is_not_cached(redis: Proxy) -> None:
    session = SessionStore(stored(v=1))
    session.set_expiry(-1)
    session.save()
    assert read(session) is None
    session.save()
    assert SessionStore.generation.trusted


def test_async_session_uses_the_cache(redis: Proxy, superuser: User) -> None:
    client = signed_in(superuser)

    async def visit() -> None:
        session = SessionStore(client.session.session_key)
        before = redis.sent
        await session.aset("v", 1)
        assert redis.sent == before + 1
        await session.asave()
        assert redis.sent == before + 2
        assert await SessionStore(session.session_key).aget("v") == 1
        redis.pause()
        await session.aflush()
        await sync_to_async(lambda: connection.close())()

    asyncio.run(visit())
    superuser.refresh_from_db()
    assert superuser.session_epoch == 1
    assert not Session.objects.exists()

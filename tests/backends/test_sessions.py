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
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection
from django.test import Client, override_settings
from pytest_django import Settings

from accounts.models import User
from backends.cache import RETRY_AFTER_FAILURE
from backends.database import statement_timeout
from backends.sessions import CacheGeneration, SessionStore
from tests.backends.conftest import wait_for
from tests.backends.proxy import Proxy

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/accounts/password_change/"


@contextlib.contextmanager
def process(generation: CacheGeneration, **changes: Any) -> Iterator[None]:
    """Act as a process that knows this cache generation, with some settings changed."""
    own = SessionStore.generation
    SessionStore.generation = generation
    try:
        with override_settings(**changes):
            yield
    finally:
        SessionStore.generation = own


@pytest.fixture(autouse=True)
def fresh_process() -> Iterator[None]:
    """Start each test as a process that has not used the cache yet."""
    with process(CacheGeneration()):
        yield


@dataclasses.dataclass
class Processes:
    """The process of the test, whose connection to Redis can be paused, and others."""

    redis: Proxy
    unaware: CacheGeneration
    direct: dict[str, Any]

    def other(self) -> contextlib.AbstractContextManager[None]:
        """Act as a process that used Redis before the outage and does not notice the outage."""
        return process(self.unaware, CACHES=self.direct)

    def new(self) -> contextlib.AbstractContextManager[None]:
        """Act as a process that has just started, and whose connection to Redis works."""
        return process(CacheGeneration(), CACHES=self.direct)


@pytest.fixture
def processes(redis: Proxy, settings: Settings) -> Processes:
    """Several processes that share one Redis."""
    direct = {"default": settings.CACHES["default"] | {"LOCATION": settings.ENV.REDIS_URL}}
    unaware = CacheGeneration()
    with process(unaware, CACHES=direct):
        unaware.renew()
    return Processes(redis, unaware, direct)


def stored(**values: object) -> str:
    """Save a new session, cache it, and return its key."""
    session = SessionStore()
    session.update(values)
    session.save()
    assert session.session_key
    SessionStore(session.session_key).load()
    return session.session_key


def read(session: SessionStore) -> object:
    """Return the value that a request finds in the session."""
    return SessionStore(session.session_key).get("v")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    assert client.get(PAGE).status_code == 200
    return client


def copy_of(client: Client) -> Client:
    """Return a client with the same cookies."""
    other = Client()
    other.cookies.load(client.cookies.output(header="", sep=";"))
    return other


def test_sign_out_during_redis_outage_holds_in_every_process(
    processes: Processes, superuser: User
) -> None:
    client = signed_in(superuser)
    old = copy_of(client)
    processes.redis.pause()
    client.post("/accounts/logout/")
    with processes.other():
        assert old.get(PAGE).status_code == 302
    processes.redis.resume()
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
    processes: Processes, superuser: User, change: str
) -> None:
    client = signed_in(superuser)
    processes.redis.pause()
    if change == "password":
        superuser.set_password("another horse")
    else:
        superuser.is_active = False
    superuser.save()
    old = copy_of(client)
    with processes.other():
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


def test_session_saved_during_redis_outage_is_read_back_after_it(processes: Processes) -> None:
    session = SessionStore(stored(v=1))
    session["v"] = 2
    processes.redis.pause()
    session.save()
    assert read(session) == 2
    processes.redis.resume()
    assert read(session) == 2
    # The other process learns of the outage without another request to this one.
    with processes.other():
        wait_for(lambda: read(session) == 2, 3)


def test_process_that_replaces_a_killed_one_reads_its_last_save(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A killed process has no thread left that starts a new generation.
    monkeypatch.setattr(CacheGeneration, "write_missed", lambda _generation: None)
    session = SessionStore(stored(v=1))
    session["v"] = 2
    processes.redis.pause()
    session.save()
    with processes.new():
        assert read(session) == 2


def test_command_that_redis_executes_late_is_ignored(processes: Processes) -> None:
    session = SessionStore(stored(v=1))
    session["v"] = 2
    processes.redis.pause()
    # This command is sent and times out. The next is not sent at all.
    session.save()
    session["v"] = 3
    session.save()
    processes.redis.resume()
    with processes.other():
        wait_for(lambda: read(session) == 3, 3)
    assert read(session) == 3


def test_flushed_anonymous_session_stays_empty_after_redis_outage(redis: Proxy) -> None:
    session = SessionStore(stored(v=1))
    redis.pause()
    SessionStore(session.session_key).flush()
    redis.resume()
    time.sleep(RETRY_AFTER_FAILURE)
    assert read(session) is None


def test_load_and_save_are_one_command_each(
    redis: Proxy,
    django_assert_num_queries: Callable[[int], contextlib.AbstractContextManager[None]],
) -> None:
    session = SessionStore(stored(v=1))
    before = redis.sent
    with django_assert_num_queries(0):
        assert session["v"] == 1
    assert redis.sent == before + 1
    session["v"] = 2
    with django_assert_num_queries(1):
        session.save()
    assert redis.sent == before + 2


def test_session_deleted_meanwhile_is_not_saved(redis: Proxy) -> None:
    session = SessionStore(stored(v=1))
    session["v"] = 2
    SessionStore(session.session_key).delete()
    with pytest.raises(UpdateError):
        session.save()
    assert read(session) is None


def test_save_that_times_out_raises_operational_error(redis: Proxy) -> None:
    """Django takes UpdateError for a session that was deleted, and answers 400."""
    session = SessionStore(stored(v=1))
    session["v"] = 2
    lock = "SELECT 1 FROM django_session WHERE session_key = %s FOR UPDATE"
    with connection.pool.connection() as other, other.transaction():  # type: ignore[attr-defined]
        other.execute(lock, [session.session_key])
        with pytest.raises(OperationalError), statement_timeout(0.1):
            session.save()


def test_expired_session_is_not_cached(redis: Proxy) -> None:
    session = SessionStore(stored(v=1))
    session.set_expiry(-1)
    session.save()
    assert read(session) is None
    session.save()
    assert SessionStore.generation.trusted


def test_session_that_was_never_saved_is_flushed(redis: Proxy) -> None:
    session = SessionStore()
    session["v"] = 1
    session.flush()
    assert session.is_empty()
    asyncio.run(SessionStore(stored(v=1)).adelete())
    assert not Session.objects.exists()


def test_sign_out_of_a_deleted_user_during_redis_outage_works(
    redis: Proxy, superuser: User
) -> None:
    session = signed_in(superuser).session
    superuser.delete()
    redis.pause()
    session.flush()
    assert not Session.objects.exists()


def test_async_session_uses_the_cache(redis: Proxy, superuser: User) -> None:
    client = signed_in(superuser)

    async def visit() -> None:
        session = SessionStore(client.session.session_key)
        # At least one command each: if one exceeds REDIS_TIMEOUT, a new cache generation follows.
        before = redis.sent
        await session.aset("v", 1)
        assert (loaded := redis.sent) > before
        await session.asave()
        assert redis.sent > loaded
        assert await SessionStore(session.session_key).aget("v") == 1
        redis.pause()
        await session.aflush()
        await sync_to_async(lambda: connection.close())()

    asyncio.run(visit())
    superuser.refresh_from_db()
    assert superuser.session_epoch == 1
    assert not Session.objects.exists()

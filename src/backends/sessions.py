"""Sessions in PostgreSQL, cached in Redis. After a Redis outage, no signed-out session returns.

django-redis ignores errors, so Django's own ``cached_db`` does not notice a write or a delete that
Redis missed: when Redis returns, a signed-out session is valid again, and a changed one has its old
value. So each cache entry names the cache generation in which it was written: a random token, which
Redis stores too. Entries of another generation are ignored. A process that missed a write starts a
new generation before it trusts the cache again.
"""

from __future__ import annotations

import secrets
import threading
import time
from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.core.cache import caches
from django.utils.crypto import constant_time_compare

from backends.cache import RETRY_AFTER_FAILURE

KEY_PREFIX = "sessions."
GENERATION_KEY = "sessions-generation"


class CacheGeneration:
    """The cache generation as one process knows it; threads share it.

    A new process also starts a new generation, because it may replace a process that missed a write
    and was killed before it could start one.
    """

    def __init__(self) -> None:
        """Start as if a write had been missed."""
        self.token: str | None = None
        self._lock = threading.Lock()
        # The number of missed writes, and how many of them a new generation has covered.
        self._missed = 1
        self._covered = 0
        self._thread: threading.Thread | None = None

    @property
    def trusted(self) -> bool:
        """Whether Redis knows of every write of this process."""
        return self._missed == self._covered

    def renew(self) -> str | None:
        """Start a new generation and return its token; return None if Redis does not answer.

        Each call sends a new token, so a command that Redis executes late makes no old entry valid.
        """
        # Read first: the new token does not cover writes that are missed after this line.
        missed = self._missed
        token = secrets.token_urlsafe(8)
        if not _cache().set(GENERATION_KEY, token, settings.SESSION_COOKIE_AGE):
            return None
        with self._lock:
            self._covered = max(self._covered, missed)
            self.token = token
        return token

    def write_missed(self) -> None:
        """Stop trusting the cache, and start a new generation as soon as Redis answers.

        This process does so before its next use of the cache. A thread does it too, for the other
        processes, which may not have noticed the outage.
        """
        with self._lock:
            self._missed += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_when_possible, daemon=True)
                self._thread.start()

    def _renew_when_possible(self) -> None:
        while True:
            with self._lock:
                if self.trusted:
                    self._thread = None
                    return
            if not self.renew():
                time.sleep(RETRY_AFTER_FAILURE)


def _cache() -> Any:
    return caches[settings.SESSION_CACHE_ALIAS]


class SessionStore(DatabaseSessionStore):
    """Django's database sessions, read from Redis where it has them.

    One round trip to Redis for each load and for each save, as with ``cached_db``.
    """

    generation: ClassVar[CacheGeneration] = CacheGeneration()

    def load(self) -> dict[str, Any]:
        """Return the session's data, from the cache if its entry is of the current generation."""
        key = KEY_PREFIX + str(self.session_key)
        entries: dict[str, Any] = {}
        if self.generation.trusted:
            entries = _cache().get_many([GENERATION_KEY, key])
        token = self.generation.token = entries.get(GENERATION_KEY) or self.generation.renew()
        written_in, data = entries.get(key, (None, None))
        if token and written_in == token:
            return dict(data)
        row = self._get_session_from_db()  # type: ignore[attr-defined]
        if row is None:
            return {}
        data = self.decode(row.session_data)
        self._write_to_cache(data, self.get_expiry_age(expiry=row.expire_date))
        return data

    def save(self, must_create: bool = False) -> None:
        """Save to PostgreSQL, then to the cache."""
        if self.session_key is None:
            self.create()  # calls this method with must_create
            return
        if must_create:
            super().save(must_create)
        else:
            self._update()
        data = self._get_session()  # type: ignore[attr-defined]
        self._write_to_cache(data, self.get_expiry_age())

    def _update(self) -> None:
        """Update the row in one round trip; the parent also sends BEGIN and COMMIT.

        Raises UpdateError if the row is gone.
        """
        row = self.create_model_instance(self._get_session())  # type: ignore[attr-defined]
        saved = self.model.objects.filter(pk=row.pk)
        if not saved.update(session_data=row.session_data, expire_date=row.expire_date):
            raise UpdateError

    def delete(self, session_key: str | None = None) -> None:
        """Delete from PostgreSQL, then from the cache."""
        self._delete(session_key or self.session_key)

    def flush(self) -> None:
        """Delete the session. If Redis missed that, end all sessions of its user.

        Otherwise a process that did not notice the outage would still accept this session.
        """
        user_id, auth_hash = self.get(SESSION_KEY), self.get(HASH_SESSION_KEY, "")
        redis_deleted = self._delete(self.session_key)
        self.clear()
        self._session_key = None
        if user_id and not redis_deleted:
            _end_sessions(user_id, auth_hash)

    def _delete(self, session_key: str | None) -> bool:
        """Delete the session; return whether Redis executed the delete."""
        if session_key is None:
            return True
        super().delete(session_key)
        # False says that there was no entry; None, that Redis did not answer.
        if _cache().delete(KEY_PREFIX + session_key) is not None:
            return True
        self.generation.write_missed()
        return False

    def _write_to_cache(self, data: dict[str, Any], timeout: float) -> None:
        token = self.generation.token or self.generation.renew()
        entry = (token, data)
        if not token or _cache().set(KEY_PREFIX + str(self.session_key), entry, timeout) is None:
            self.generation.write_missed()

    # Django's asynchronous methods bypass the cache. These run the methods above in a thread.

    async def aload(self) -> dict[str, Any]:
        return await sync_to_async(self.load)()

    async def asave(self, must_create: bool = False) -> None:
        await sync_to_async(self.save)(must_create)

    async def adelete(self, session_key: str | None = None) -> None:
        await sync_to_async(self.delete)(session_key)

    async def aflush(self) -> None:
        await sync_to_async(self.flush)()


def _end_sessions(user_id: str, auth_hash: str) -> None:
    """End all sessions of the user, if a session with this hash is still accepted.

    Otherwise an old cookie could sign its user out during every outage.
    """
    user = get_user_model().objects.filter(pk=user_id).first()
    if user is None:
        return
    accepted = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    if any(constant_time_compare(auth_hash, each) for each in accepted):
        user.end_sessions()

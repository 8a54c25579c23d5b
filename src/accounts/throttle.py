"""Limits on attempts, such as sign-ins, counted in PostgreSQL.

The counts are shared by all replicas and do not depend on Redis.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.models import AttemptCounter
from serving.client_ip import client_ip

logger = logging.getLogger(__name__)

WINDOW = timedelta(minutes=10)
# Expired counters that each new attempt deletes, so that the table stays small.
CLEANUP_BATCH = 100
# Seconds that a sign-in waits for other sign-ins whose passwords are being checked.
MAX_WAIT = 2.0

# Rows are locked in the order of their keys, so that two statements cannot deadlock.
_ADD_TO_COUNTERS = """
    INSERT INTO accounts_attemptcounter AS counter (key, attempts, expires)
    SELECT key, GREATEST(%(step)s, 0), statement_timestamp() + %(window)s
    FROM unnest(%(keys)s::text[]) AS key ORDER BY key
    ON CONFLICT (key) DO UPDATE SET
        attempts = CASE WHEN counter.expires <= statement_timestamp() THEN excluded.attempts
                        ELSE GREATEST(counter.attempts + %(step)s, 0) END,
        locked = counter.locked AND counter.expires > statement_timestamp(),
        expires = CASE WHEN counter.expires <= statement_timestamp() THEN excluded.expires
                       ELSE counter.expires END
    RETURNING key, attempts, locked,
        ceil(extract(epoch FROM expires - statement_timestamp()))::int AS seconds_left
"""

# ARRAY, because PostgreSQL may run a subquery of IN several times, each time for other rows.
_DELETE_EXPIRED = """
    DELETE FROM accounts_attemptcounter WHERE key = ANY (ARRAY(
        SELECT key FROM accounts_attemptcounter WHERE expires <= statement_timestamp()
        LIMIT %s FOR UPDATE SKIP LOCKED))
"""


class TooManyAttemptsError(Exception):
    """An attempt was refused; ``accounts.middleware`` answers 429.

    ``retry_after`` is the number of seconds until attempts are accepted again. ``locked`` tells
    whether the limit was reached by failures that ``lock`` has recorded.
    """

    def __init__(self, retry_after: int, *, locked: bool = False) -> None:
        super().__init__(f"Too many attempts; the next is accepted in {retry_after} seconds.")
        self.retry_after = retry_after
        self.locked = locked


class _Row(NamedTuple):
    key: str
    attempts: int
    locked: bool
    seconds_left: int


def counter_key(*parts: str) -> str:
    """Return the key of a counter: a digest, because the parts hold text that strangers typed."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def count_attempt(limits: Mapping[str, int], window: timedelta = WINDOW) -> list[str]:
    """Count one attempt, and return the keys of the counters that are now at their limit.

    ``limits`` maps the key of each counter to the attempts allowed within ``window``. The check and
    the count are one transaction, so parallel attempts cannot exceed a limit. It is the outermost
    transaction (RuntimeError otherwise), because a rollback of the request would undo the count.

    Raises TooManyAttemptsError, and counts nothing, if a counter was at its limit before. So
    attempts during a lockout do not extend it, and do not use up the limits of other counters.
    """
    with transaction.atomic(durable=True):
        rows = _add_to_counters(1, limits, window)
        if excess := [row for row in rows if row.attempts > limits[row.key]]:
            raise TooManyAttemptsError(
                max(row.seconds_left for row in excess), locked=any(row.locked for row in excess)
            )
        with connection.cursor() as cursor:
            cursor.execute(_DELETE_EXPIRED, [CLEANUP_BATCH])
    return [row.key for row in rows if row.attempts == limits[row.key]]


def count_revocable_attempt(limits: Mapping[str, int]) -> list[str]:
    """Count an attempt whose outcome the caller reports with ``uncount_attempt`` or ``lock``.

    If attempts in progress fill a counter, it waits for them, because many people may sign in at
    once from one network.
    """
    deadline = time.monotonic() + MAX_WAIT
    while True:
        try:
            return count_attempt(limits)
        except TooManyAttemptsError as error:
            if error.locked:
                raise
            if time.monotonic() > deadline:
                raise TooManyAttemptsError(retry_after=1) from None
        time.sleep(0.05)


def uncount_attempt(keys: Iterable[str]) -> None:
    """Take back an attempt that succeeded."""
    _add_to_counters(-1, keys, WINDOW)


def lock(keys: Iterable[str]) -> TooManyAttemptsError:
    """Refuse further attempts for a whole WINDOW from now, and return the exception to raise."""
    for key in keys:
        AttemptCounter.objects.filter(pk=key).update(locked=True, expires=Now() + WINDOW)
    logger.warning("Too many failed attempts: refused for the next %s.", WINDOW)
    return TooManyAttemptsError(int(WINDOW.total_seconds()), locked=True)


def network_limits(action: str, request: HttpRequest) -> dict[str, int]:
    """Return the counters and limits of an action for the client's networks."""
    limits = zip(networks(request), (30, 120), strict=False)
    return {counter_key(action, "network", network): limit for network, limit in limits}


def networks(request: HttpRequest) -> tuple[str, ...]:
    """Return the client's networks, the smallest first.

    An IPv4 address is its own network. An IPv6 address is in two: its /64, in which a client may
    choose any address, and its /48, the largest network that one customer usually gets:
    https://www.ripe.net/publications/docs/ripe-690/
    """
    client = client_ip(
        request.META.get("REMOTE_ADDR", ""),
        request.META.get("HTTP_X_FORWARDED_FOR", "").encode("latin-1", "replace"),
        settings.ENV.TRUSTED_PROXY_COUNT,
    )
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return (client,)
    if isinstance(address, ipaddress.IPv6Address):
        if not address.ipv4_mapped:
            return tuple(
                str(ipaddress.IPv6Network((int(address), prefix), strict=False))
                for prefix in (64, 48)
            )
        address = address.ipv4_mapped
    return (str(address),)


def too_many_attempts_response(request: HttpRequest, exception: Exception) -> HttpResponse | None:
    """Answer 429 to TooManyAttemptsError; as a middleware's process_exception."""
    if not isinstance(exception, TooManyAttemptsError):
        return None
    minutes = -(-exception.retry_after // 60)
    response = render(request, "429.html", {"minutes": minutes}, status=429)
    response["Retry-After"] = str(exception.retry_after)
    response["Cache-Control"] = "no-store"
    return response


def _add_to_counters(step: int, keys: Iterable[str], window: timedelta) -> list[_Row]:
    with connection.cursor() as cursor:
        params: dict[str, Any] = {"step": step, "window": window, "keys": list(keys)}
        cursor.execute(_ADD_TO_COUNTERS, params)
        return [_Row(*row) for row in cursor.fetchall()]

"""Redis in the service of requests: a page pays for its absence once, not at every operation."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, ClassVar, Self

from django_redis.pool import ConnectionFactory
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

logger = logging.getLogger(__name__)

# Seconds in which Redis is not asked again after it did not answer.
PAUSE = 1.0


class CircuitBreaker(Retry):
    """redis-py's retry policy: no retry, and after a failure no try at all for PAUSE seconds.

    The site works without Redis, so nothing waits for it twice.
    """

    def __init__(self) -> None:
        """Take Redis to be there."""
        super().__init__(NoBackoff(), 0)
        self._away_until = 0.0
        self._away = False

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """Return itself: each connection deep-copies its policy, but all learn from each other."""
        return self

    def call_with_retry[Value](
        self, do: Callable[[], Value], fail: Callable[..., Any], *args: Any, **options: Any
    ) -> Value:
        """Do it once; raises redis's ConnectionError at once while Redis is taken to be away."""
        if time.monotonic() < self._away_until:
            raise RedisConnectionError("Redis did not answer a moment ago.")
        try:
            value = super().call_with_retry(do, fail, *args, **options)
        except (RedisConnectionError, RedisTimeoutError) as error:
            self._away_until = time.monotonic() + PAUSE
            if not self._away:
                self._away = True
                logger.warning("Going on without Redis: %s", error)
            raise
        if self._away:
            self._away = False
            logger.info("Redis answers again.")
        return value


class ImpatientPool(ConnectionPool):
    """A pool of connections to one Redis, with one circuit breaker for all of them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take the arguments of redis-py's pool."""
        super().__init__(*args, **options | {"retry": CircuitBreaker()})


class OneClient(ConnectionFactory):  # type: ignore[misc]  # it is untyped
    """Makes one client of redis-py for each Redis.

    Django makes a cache object for each request, and django-redis a client for each of those, which
    costs as much as a command. A client may be shared by threads:
    https://redis.readthedocs.io/en/stable/advanced_features.html
    """

    _clients: ClassVar[dict[ConnectionPool, Redis]] = {}

    def get_connection(self, params: dict[str, Any]) -> Redis:
        """Return the client of what the parameters name."""
        pool = self.get_or_create_connection_pool(params)
        if pool not in self._clients:
            self._clients[pool] = super().get_connection(params)
        return self._clients[pool]

"""The connection to Redis: when Redis is away, a request waits for it once, not per operation."""

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

from backends.connection_errors import redis_problem

logger = logging.getLogger(__name__)

# Seconds after a failure during which every operation fails at once, without asking Redis.
RETRY_AFTER_FAILURE = 1.0


class CircuitBreaker(Retry):
    """A redis-py retry policy that never retries, and fails fast after a failure.

    The site works without Redis, so a request must not wait for it at every operation.
    """

    def __init__(self) -> None:
        """Start with the circuit closed."""
        super().__init__(NoBackoff(), 0)
        self._open_until = 0.0
        self._open = False

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """Return itself: redis-py copies the policy for each connection, but all must share it."""
        return self

    def call_with_retry[Value](
        self, do: Callable[[], Value], fail: Callable[..., Any], *args: Any, **options: Any
    ) -> Value:
        """Call ``do`` once. Raises redis's ConnectionError at once while the circuit is open."""
        if time.monotonic() < self._open_until:
            raise RedisConnectionError("Redis failed less than a second ago.")
        try:
            value = super().call_with_retry(do, fail, *args, **options)
        except (RedisConnectionError, RedisTimeoutError) as error:
            self._open_until = time.monotonic() + RETRY_AFTER_FAILURE
            if not self._open:
                self._open = True
                problem = redis_problem(error)
                logger.warning("Redis is away; continuing without it: %s", problem)
            raise
        if self._open:
            self._open = False
            logger.info("Redis answers again.")
        return value


class CircuitBreakerPool(ConnectionPool):
    """A redis-py connection pool whose connections share one circuit breaker."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"retry": CircuitBreaker()})


class SharedClientFactory(ConnectionFactory):  # type: ignore[misc]  # django-redis is untyped
    """A django-redis connection factory that makes one redis-py client per server.

    Django makes a cache object for each request, and django-redis a client for each cache object,
    which costs as much as a command. Threads may share a client:
    https://redis.readthedocs.io/en/stable/advanced_features.html
    """

    _clients: ClassVar[dict[ConnectionPool, Redis]] = {}

    def get_connection(self, params: dict[str, Any]) -> Redis:
        pool = self.get_or_create_connection_pool(params)
        if pool not in self._clients:
            self._clients[pool] = super().get_connection(params)
        return self._clients[pool]

"""Failed sign-ins are counted across replicas, by the client's address behind the proxies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from scripts.stack.engine import Container, Stack

LOGIN = "/accounts/login/"
PASSWORD = "correct horse battery"
LIMIT = 5


@pytest.fixture(autouse=True)
def end_lockouts(stack: Stack) -> Iterator[None]:
    yield
    stack.end_lockouts()


def sign_in(web: Container, email: str, password: str, **headers: str) -> int:
    """Post the sign-in form from a new browser and return the status of the response."""
    browser = web.browser(**headers)
    browser.get(LOGIN)
    return browser.post(LOGIN, {"username": email, "password": password}, timeout=60).status


def test_lockout_holds_across_replicas_and_without_redis(stack: Stack, web: Container) -> None:
    stack.add_users(PASSWORD, "replicas@example.com")
    other = stack.start().wait_ready()
    redis = stack.container("redis")
    redis.docker("pause")
    try:
        statuses = [
            sign_in((web, other)[number % 2], "replicas@example.com", "wrong")
            for number in range(LIMIT)
        ]
        assert statuses == [200] * (LIMIT - 1) + [429]
        for replica in (web, other):
            assert sign_in(replica, "replicas@example.com", PASSWORD) == 429
    finally:
        redis.docker("unpause")
        other.remove()


def test_sixty_parallel_guesses_at_two_replicas_get_five_tries(
    stack: Stack, web: Container
) -> None:
    stack.add_users(PASSWORD, "parallel@example.com")
    other = stack.start().wait_ready()
    try:
        with ThreadPoolExecutor(30) as threads:
            statuses = Counter(
                threads.map(
                    lambda number: sign_in(
                        (web, other)[number % 2], "parallel@example.com", "wrong"
                    ),
                    range(60),
                )
            )
        # The last allowed guess gets 429 too. A busy replica may answer 503.
        assert statuses[200] <= LIMIT - 1
        assert statuses[429] >= 1
        assert set(statuses) <= {200, 429, 503}
    finally:
        other.remove()


def test_spoofed_headers_do_not_bypass_throttle(stack: Stack, web: Container) -> None:
    stack.add_users(PASSWORD, "claims@example.com")
    behind_proxy = stack.start(env={"TRUSTED_PROXY_COUNT": "1"}).wait_ready()

    def attempt(password: str, spoofed: str, client: str) -> int:
        # The proxy appends the address that it sees.
        headers = {"X_Forwarded_For": f"{spoofed}, {client}", "User_Agent": spoofed}
        return sign_in(behind_proxy, "claims@example.com", password, **headers)

    try:
        statuses = [attempt("wrong", f"198.51.100.{n}", "203.0.113.1") for n in range(LIMIT)]
        assert statuses == [200] * (LIMIT - 1) + [429]
        assert attempt(PASSWORD, "198.51.100.99", "203.0.113.1") == 429
        # Another client of the same proxy is not locked out.
        assert attempt(PASSWORD, "203.0.113.1", "203.0.113.2") == 302
    finally:
        behind_proxy.remove()

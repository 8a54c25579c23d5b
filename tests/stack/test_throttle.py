"""Failed sign-ins are counted for all replicas together, by who is in front of the balancer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.stack.engine import Container, Stack

LOGIN = "/accounts/login/"
PASSWORD = "correct horse battery"
LIMIT = 5


@pytest.fixture(autouse=True)
def forgiven(web: Container) -> Iterator[None]:
    """Leave no failure behind: all tests come from one address."""
    yield
    web.exec("python", "manage.py", "axes_reset")


def make_user(web: Container, email: str) -> None:
    """Make somebody who can sign in."""
    code = f"User.objects.create_user({email!r}, {PASSWORD!r})"
    web.exec("python", "manage.py", "shell", "--verbosity=0", "--command", code)


def sign_in(web: Container, email: str, password: str, **headers: str) -> int:
    """Return the status of the answer to the form."""
    browser = web.browser(**headers)
    browser.get(LOGIN)
    return browser.post(LOGIN, {"username": email, "password": password}, timeout=60).status


def test_a_lock_holds_over_replicas_and_without_redis(stack: Stack, web: Container) -> None:
    make_user(web, "replicas@example.com")
    other = stack.start().wait_ready(60)
    redis = stack.container("redis")
    redis.docker("pause")
    try:
        answers = [
            sign_in((web, other)[number % 2], "replicas@example.com", "wrong")
            for number in range(LIMIT)
        ]
        assert answers == [200] * (LIMIT - 1) + [429]
        for one in (web, other):
            assert sign_in(one, "replicas@example.com", PASSWORD) == 429
    finally:
        redis.docker("unpause")
        other.remove()


def test_nobody_evades_by_what_they_claim_of_themselves(stack: Stack, web: Container) -> None:
    make_user(web, "claims@example.com")
    behind = stack.start(env={"TRUSTED_PROXY_COUNT": "1"}).wait_ready(60)

    def attempt(password: str, claim: str, client: str) -> int:
        # The balancer appends the client that it sees.
        claimed = {"X_Forwarded_For": f"{claim}, {client}", "User_Agent": claim}
        return sign_in(behind, "claims@example.com", password, **claimed)

    try:
        answers = [attempt("wrong", f"198.51.100.{n}", "203.0.113.1") for n in range(LIMIT)]
        assert answers == [200] * (LIMIT - 1) + [429]
        assert attempt(PASSWORD, "198.51.100.99", "203.0.113.1") == 429
        assert attempt(PASSWORD, "203.0.113.1", "203.0.113.2") == 302
    finally:
        behind.remove()

"""The cache, sessions and connections, against the real PostgreSQL and Redis."""

from __future__ import annotations

import contextvars
import re
import subprocess
import time

import pytest
from django.conf import settings as django_settings
from django.contrib.sessions.models import Session
from django.core.cache import cache, caches
from django.core.management import call_command
from django.test import Client

from accounts.models import User
from tests import forked
from tests.backends.conftest import wait_for
from tests.backends.proxy import Proxy


def test_cache_returns_stored_value() -> None:
    cache.set("key", {"any": ["value"]}, timeout=60)
    assert cache.get("key") == {"any": ["value"]}
    assert 0 < cache.ttl("key") <= 60  # type: ignore[attr-defined]


@pytest.mark.usefixtures("redis_away")
def test_cache_returns_default_without_redis() -> None:
    cache.set("key", "value")
    assert cache.get("key", "nothing") == "nothing"


def test_page_waits_for_silent_redis_once(redis: Proxy) -> None:
    """Redis accepts connections but never answers: only the first operation waits for it."""
    redis.pause()
    start = time.monotonic()
    assert [cache.get("key", "nothing") for _ in range(5)] == ["nothing"] * 5
    # REDIS_TIMEOUT is 0.5 s.
    assert time.monotonic() - start < 0.9


@pytest.mark.waits
def test_cache_is_used_again_soon_after_redis_returns(
    redis: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "backends.cache")
    cache.set("key", "value")
    for _ in range(2):
        redis.pause()
        assert cache.get("key") is None
        assert cache.get("key") is None
        redis.resume()
        wait_for(lambda: cache.get("key") == "value", 2)
    # Each outage is one line, and its end another.
    assert [message.split(";")[0] for message in caplog.messages] == [
        "Redis is away",
        "Redis answers again.",
    ] * 2
    assert "Timeout reading" in caplog.messages[0]
    assert {record.name for record in caplog.records} == {"backends.cache"}


def test_requests_share_one_redis_client() -> None:
    """Django gives each context, and so each request, a cache object of its own."""

    def cache_and_client() -> tuple[object, object]:
        backend = caches["default"]
        return backend, backend.client.get_client()  # type: ignore[attr-defined]

    first, second = (contextvars.Context().run(cache_and_client) for _ in range(2))
    assert first[0] is not second[0]
    assert first[1] is second[1]


def test_session_is_stored_in_redis_and_postgresql(admin_client: Client) -> None:
    key = admin_client.session.session_key
    assert Session.objects.filter(pk=key).exists()
    assert cache.get(f"sessions.{key}")


def test_session_survives_redis_outage(
    admin_client: Client, request: pytest.FixtureRequest
) -> None:
    assert admin_client.get("/admin/").status_code == 200
    request.getfixturevalue("redis_away")
    assert admin_client.get("/admin/").status_code == 200


@pytest.mark.usefixtures("redis_away")
def test_sign_in_works_without_redis(client: Client, superuser: User) -> None:
    client.post("/admin/login/", {"username": superuser.email, "password": "correct horse"})
    assert client.get("/admin/").status_code == 200


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_deploy_checks_pass_behind_tls() -> None:
    """`check --deploy` as on ECS; TLS_IN_FRONT=false silences four checks."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(django_settings.SRC),
        "ALLOWED_HOSTS": "example.com",
        "TRUSTED_PROXY_COUNT": "1",
        "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "DATABASE_URL": "postgres://user:password@localhost/name",
        "REDIS_URL": "redis://localhost",
        # Without EMAIL_URL, a check warns that no mail can be sent.
        "EMAIL_URL": "smtps://user:password@localhost",
        "DEFAULT_FROM_EMAIL": "noreply@example.com",
    }

    def check(*options: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return forked.run(
            *("manage.py", "check", *options), env=environment | changes, cwd=django_settings.SRC
        )

    for tls in ("true", "false"):
        done = check("--deploy", "--fail-level", "WARNING", TLS_IN_FRONT=tls)
        assert done.returncode == 0, done.stderr
        # HSTS_PRELOAD is off by default.
        silenced = 1 if tls == "true" else 4
        assert f"no issues ({silenced} silenced)" in done.stdout
    # Without a mail server, only `check --deploy` warns.
    del environment["EMAIL_URL"]
    for options, says in (
        (["--deploy"], r"\(accounts\.W001\) The site sends no mail.*\s+HINT: Set EMAIL_URL"),
        ([], "no issues"),
    ):
        done = check(*options)
        assert done.returncode == 0, done.stderr
        assert re.search(says, done.stdout + done.stderr)

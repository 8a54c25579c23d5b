"""The cache and the sessions over the real PostgreSQL and Redis, with Redis there and away."""

from __future__ import annotations

import contextvars
import socket
import subprocess
import threading

import psycopg
import pytest
from django.conf import settings as django_settings
from django.contrib.sessions.models import Session
from django.core.cache import cache, caches
from django.core.management import call_command
from django.db import connection
from django.test import Client, override_settings

from accounts.models import User
from tests import forked


def test_cache_keeps_what_it_is_given() -> None:
    cache.set("key", {"any": ["value"]}, timeout=60)
    assert cache.get("key") == {"any": ["value"]}
    assert 0 < cache.ttl("key") <= 60  # type: ignore[attr-defined]


@pytest.mark.usefixtures("redis_away")
def test_cache_forgets_instead_of_failing_without_redis() -> None:
    cache.set("key", "value")
    assert cache.get("key", "nothing") == "nothing"


def test_a_silent_redis_is_waited_for_once() -> None:
    """One that accepts and never answers costs its timeout: not at every operation of a page."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        with override_settings(
            CACHES={"default": django_settings.CACHES["default"] | {"LOCATION": url}}
        ):
            assert [cache.get("key", "nothing") for _ in range(5)] == ["nothing"] * 5
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_requests_share_a_client_of_redis() -> None:
    """Django gives each of them, as each context, a cache object of its own."""

    def mine() -> tuple[object, object]:
        backend = caches["default"]
        return backend, backend.client.get_client()  # type: ignore[attr-defined]

    (backend, client), (other, same) = (contextvars.Context().run(mine) for _ in range(2))
    assert other is not backend
    assert same is client


def test_session_is_in_redis_and_in_postgresql(admin_client: Client) -> None:
    key = admin_client.session.session_key
    assert Session.objects.filter(pk=key).exists()
    assert cache.get(f"django.contrib.sessions.cached_db{key}")


def test_session_survives_redis(admin_client: Client, request: pytest.FixtureRequest) -> None:
    assert admin_client.get("/admin/").status_code == 200
    request.getfixturevalue("redis_away")
    assert admin_client.get("/admin/").status_code == 200


@pytest.mark.usefixtures("redis_away")
def test_signing_in_works_without_redis(client: Client, superuser: User) -> None:
    client.post("/admin/login/", {"username": superuser.email, "password": "correct horse"})
    assert client.get("/admin/").status_code == 200


@pytest.mark.django_db
def test_app_role_is_no_superuser_and_may_make_databases() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (False, True)


@pytest.mark.django_db
def test_a_statement_that_takes_too_long_is_ended() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        limit = cursor.fetchone()
    assert limit == (f"{django_settings.ENV.DATABASE_STATEMENT_TIMEOUT // 1000}s",)


@pytest.mark.django_db(transaction=True)
def test_connections_come_from_a_pool_and_go_back() -> None:
    def work() -> None:
        try:
            User.objects.count()
        finally:
            connection.close()

    for _ in range(3):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    stats = connection.pool.get_stats()  # type: ignore[attr-defined]
    assert stats["connections_num"] <= django_settings.ENV.DATABASE_POOL_SIZE
    assert stats["requests_num"] > stats["connections_num"]


@pytest.mark.django_db(transaction=True)
def test_iterator_outlives_its_connection() -> None:
    """A streamed response goes on while another request's transaction fails on its connection."""
    User.objects.bulk_create(User(email=f"{number}@example.com") for number in range(5))
    # A new pool has one connection.
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]
    rows = User.objects.iterator(chunk_size=2)
    next(rows)
    connection.close()
    with connection.pool.connection() as other, other.transaction(force_rollback=True):  # type: ignore[attr-defined]
        with pytest.raises(psycopg.errors.DivisionByZero):
            other.execute("SELECT 1/0")
        assert len(list(rows)) == 4


@pytest.mark.django_db
def test_models_and_migrations_agree() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_deploy_checks_are_clean_behind_tls() -> None:
    """`check --deploy` as on ECS: nothing silenced but what TLS_IN_FRONT=false would."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(django_settings.SRC),
        "ALLOWED_HOSTS": "example.com",
        "TRUSTED_PROXY_COUNT": "1",
        "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "DATABASE_URL": "postgres://user:password@localhost/name",
        "REDIS_URL": "redis://localhost",
        # Without it Django warns that no mail can be sent.
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
    # Without a mail server that is said before a deployment, not at every command.
    del environment["EMAIL_URL"]
    for options, says in ((["--deploy"], "accounts.W001"), ([], "no issues")):
        done = check(*options)
        assert done.returncode == 0, done.stderr
        assert says in done.stdout + done.stderr

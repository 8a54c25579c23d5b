"""TLS to PostgreSQL and Redis: a valid certificate is accepted, and each fault has its own text."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper
from pytest_django import Settings
from redis import Redis, RedisError

from backends.connection_errors import postgres_problem, redis_problem
from backends.database import TimeoutConnection, request_settings, warn_about_server
from background.management.commands.worker import reason_to_wait
from probes.state import CACHE_TTL_WHEN_DOWN, State
from tests.backends.tls_relay import tls_relay
from tests.environment.sound import environment, without
from tests.ports import free_ports

SCRIPT = django_settings.SRC.parent / "scripts/certificates"
CANARY = "canary0dIeS1ifPRINTED"
EXPIRED = "PostgreSQL's certificate has expired. Renew it on the server."


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with valid certificates, expired ones, and valid ones of another authority."""
    made = tmp_path_factory.mktemp("certificates")
    for name, days in (("valid", "2"), ("expired", "0"), ("other", "2")):
        subprocess.run(["sh", SCRIPT, made / name, days], check=True)
    time.sleep(1)  # "expired" is valid until the second in which it was made
    return made


def database(certificates: Path, trusted: str, **changes: object) -> dict[str, Any]:
    """Return DATABASES["default"] with TLS, for the test's server and role with the changes."""
    present = connection.settings_dict
    secret = {
        "username": present["USER"],
        "password": present["PASSWORD"],
        "host": "localhost",
        "port": present["PORT"] or 5432,
        "dbname": "postgres",
    }
    env = environment(
        without("DATABASE_URL"),
        DATABASE_SECRET=json.dumps(secret | changes),
        DATABASE_SSLMODE="verify-full",
        DATABASE_SSLROOTCERT=str(certificates / trusted / "ca.crt"),
    )
    return request_settings(env)


def parameters(settings: dict[str, Any]) -> dict[str, Any]:
    """Return libpq's parameters for an entry of DATABASES."""
    wrapper = cast(DatabaseWrapper, connection.copy("tls"))
    wrapper.settings_dict |= settings
    return wrapper.get_connection_params()


@contextlib.contextmanager
def postgres_with_tls(certificates: Path, presented: str) -> Iterator[int]:
    """The real PostgreSQL with TLS, on the yielded port."""
    present = connection.settings_dict
    address = str(present["HOST"]), int(present["PORT"] or 5432)
    certificate = certificates / presented / "postgres.crt"
    with tls_relay(address, certificate, postgres=True) as port:
        yield port


def test_postgres_with_valid_certificate_accepts_database_secret(certificates: Path) -> None:
    with postgres_with_tls(certificates, "valid") as port:
        settings = database(certificates, "valid", port=port)
        with TimeoutConnection.connect(**parameters(settings)) as connected:
            assert connected.pgconn.ssl_in_use
            assert connected.execute("SELECT 1").fetchone() == (1,)


# name: (certificate that PostgreSQL presents, changes of the login, text of the error)
POSTGRES_FAULTS: dict[str, tuple[str, dict[str, object], str]] = {
    "expired certificate": ("expired", {}, EXPIRED),
    "unknown authority": ("other", {}, "PostgreSQL's certificate is signed by an unknown author"),
    "other host": (
        "valid",
        {"host": "127.0.0.1"},
        'does not match host name "127.0.0.1". Connect to a host that the certificate names',
    ),
    "wrong password": ("valid", {"password": CANARY}, "password authentication failed"),
}


@pytest.mark.parametrize("fault", POSTGRES_FAULTS)
def test_postgres_fault_has_its_own_error(fault: str, certificates: Path) -> None:
    presented, changes, _text = POSTGRES_FAULTS[fault]
    trusted = "expired" if presented == "expired" else "valid"
    start = time.monotonic()
    with postgres_with_tls(certificates, presented) as port:
        settings = database(certificates, trusted, **{"port": port} | changes)
        with pytest.raises(psycopg.OperationalError) as raised:
            TimeoutConnection.connect(**parameters(settings))
    assert time.monotonic() - start < 3
    assert [name for name, row in POSTGRES_FAULTS.items() if row[2] in str(raised.value)] == [fault]
    assert CANARY not in str(raised.value)


def test_postgres_without_tls_is_refused(certificates: Path) -> None:
    settings = database(certificates, "valid", host=connection.settings_dict["HOST"])
    with pytest.raises(psycopg.OperationalError, match="server does not support SSL"):
        TimeoutConnection.connect(**parameters(settings))


def test_certificate_is_judged_by_the_systems_authorities(certificates: Path) -> None:
    with postgres_with_tls(certificates, "valid") as port:
        params = parameters(database(certificates, "valid", port=port)) | {"sslrootcert": "system"}
        with pytest.raises(psycopg.OperationalError, match="signed by an unknown authority"):
            TimeoutConnection.connect(**params)


def test_server_that_is_gone_keeps_libpqs_text() -> None:
    error = psycopg.OperationalError("certificate verify failed")
    (port,) = free_ports(1)
    assert postgres_problem(error, {"host": "127.0.0.1", "port": port}) == str(error)


def test_server_that_was_repaired_meanwhile_keeps_libpqs_text(certificates: Path) -> None:
    error = psycopg.OperationalError("certificate verify failed")
    with postgres_with_tls(certificates, "valid") as port:
        params = parameters(database(certificates, "valid", port=port))
        assert postgres_problem(error, params) == str(error)


def test_server_that_gave_up_tls_meanwhile_keeps_libpqs_text(certificates: Path) -> None:
    error = psycopg.OperationalError("certificate verify failed")
    params = parameters(database(certificates, "valid", host=connection.settings_dict["HOST"]))
    assert postgres_problem(error, params) == str(error)


@pytest.mark.waits
def test_server_that_falls_silent_meanwhile_is_left_at_the_connect_timeout(
    certificates: Path,
) -> None:
    error = psycopg.OperationalError("certificate verify failed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        params = parameters(database(certificates, "valid", port=server.getsockname()[1]))
        start = time.monotonic()
        assert postgres_problem(error, params | {"connect_timeout": 1}) == str(error)
    assert 0.9 < time.monotonic() - start < 1.9


def test_other_fault_of_a_certificate_is_named() -> None:
    refusal = ssl.SSLCertVerificationError()
    refusal.verify_code, refusal.verify_message = 9, "certificate is not yet valid"
    text = "Redis's certificate is refused: certificate is not yet valid."
    assert redis_problem(refusal) == text


def answer_with(data: bytes, server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(data)


def test_redis_without_tls_is_known_by_an_error_in_its_protocol() -> None:
    """Redis sends one if a line ends among the bytes of the handshake, which are random."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as threads:
        answer = threads.submit(answer_with, b"-ERR unknown command\r\n", server)
        url = f"rediss://127.0.0.1:{server.getsockname()[1]}"
        with Redis.from_url(url, retry=None) as client, pytest.raises(RedisError) as raised:
            client.ping()
        answer.result(10)
    assert redis_problem(raised.value).startswith("Redis did not answer in TLS.")


@pytest.fixture
def expired_postgres(
    certificates: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> Iterator[None]:
    """Django's database is a PostgreSQL whose certificate has expired."""
    settings.ENV = dataclasses.replace(settings.ENV, DATABASE_OWNER_URL=None)
    with postgres_with_tls(certificates, "expired") as port:
        present = database(certificates, "expired", port=port)
        for name in ("HOST", "PORT", "OPTIONS"):
            monkeypatch.setitem(connection.settings_dict, name, present[name])
        # An open connection would still lead to the other server.
        connection.close()
        yield
        # A pool that readiness opened would keep this address for the tests that follow.
        connection.close_pool()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("expired_postgres")
def test_migrate_explains_refused_certificate() -> None:
    with pytest.raises(CommandError, match=re.escape(EXPIRED)):
        call_command("migrate", verbosity=0)


@pytest.mark.usefixtures("expired_postgres")
def test_start_of_web_logs_refused_certificate(caplog: pytest.LogCaptureFixture) -> None:
    warn_about_server(django_settings.ENV)
    assert caplog.messages == [f"PostgreSQL is away: {EXPIRED}"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("expired_postgres")
def test_worker_waits_because_of_refused_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "pool", False)
    assert reason_to_wait() == EXPIRED


@pytest.mark.waits
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("expired_postgres")
def test_readiness_logs_refused_certificate_once(caplog: pytest.LogCaptureFixture) -> None:
    state = State()
    try:
        for pause in (0.0, CACHE_TTL_WHEN_DOWN):
            time.sleep(pause)
            ready, details = asyncio.run(state.read())
            assert (ready, details["postgres"]) == (False, "down")
    finally:
        state.close()
    logged = [row.message for row in caplog.records if row.name == "probes.state"]
    assert logged == [f"PostgreSQL is away: {EXPIRED}"]


@pytest.fixture
def redis_user(settings: Settings) -> Iterator[str]:
    """A user of the real Redis whose password is CANARY."""
    with Redis.from_url(settings.ENV.REDIS_URL) as client:
        # Each process that runs tests needs a user of its own.
        user = f"test-{os.getpid()}"
        client.execute_command("ACL", "SETUSER", user, "on", f">{CANARY}", "~*", "+@all")
        yield user
        client.acl_deluser(user)


@contextlib.contextmanager
def redis_with_tls(certificates: Path, presented: str) -> Iterator[int]:
    """The real Redis with TLS, on the yielded port."""
    url = urlsplit(django_settings.ENV.REDIS_URL)
    address = str(url.hostname), url.port or 6379
    with tls_relay(address, certificates / presented / "redis.crt") as port:
        yield port


def use_redis(settings: Settings, url: str, authorities: Path) -> None:
    """Point the cache at a Redis, by a URL that the contract accepts."""
    location = environment(REDIS_URL=f"{url}?ssl_ca_certs={authorities}").REDIS_URL
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": location}}


def test_redis_with_valid_certificate_and_password_stores_values(
    certificates: Path, redis_user: str, settings: Settings
) -> None:
    with redis_with_tls(certificates, "valid") as port:
        url = f"rediss://{redis_user}:{CANARY}@localhost:{port}/0"
        use_redis(settings, url, certificates / "valid/ca.crt")
        cache.set("key", "value")
        assert cache.get("key") == "value"


# name: (certificate that Redis presents, host, password, text of the log line)
REDIS_FAULTS = {
    "expired certificate": ("expired", "localhost", CANARY, "Redis's certificate has expired."),
    "unknown authority": ("other", "localhost", CANARY, "signed by an unknown authority."),
    "other host": ("valid", "127.0.0.1", CANARY, "Redis's certificate is for another host."),
    "wrong password": ("valid", "localhost", f"{CANARY}2", "Redis refuses the login of REDIS_URL."),
    "no TLS": ("", "localhost", CANARY, "Redis did not answer in TLS."),
}


@pytest.mark.parametrize("fault", REDIS_FAULTS)
def test_redis_fault_has_its_own_log_line(
    fault: str,
    certificates: Path,
    redis_user: str,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    presented, host, password, _text = REDIS_FAULTS[fault]
    trusted = "expired" if presented == "expired" else "valid"
    with contextlib.ExitStack() as stack:
        if presented:
            port = stack.enter_context(redis_with_tls(certificates, presented))
            address = f"{host}:{port}"
        else:
            address = urlsplit(settings.ENV.REDIS_URL).netloc.rpartition("@")[2]
        url = f"rediss://{redis_user}:{password}@{address}/0"
        use_redis(settings, url, certificates / trusted / "ca.crt")
        start = time.monotonic()
        with caplog.at_level(logging.WARNING):
            assert cache.get("key", "nothing") == "nothing"
        assert time.monotonic() - start < 1
    assert [name for name, row in REDIS_FAULTS.items() if row[3] in caplog.text] == [fault]
    assert CANARY not in caplog.text


def test_certificates_are_kept_until_they_expire(certificates: Path, tmp_path: Path) -> None:
    def make(days: str) -> str:
        subprocess.run(["sh", SCRIPT, tmp_path / "tls", days], check=True)
        return (tmp_path / "tls/postgres.crt").read_text()

    expired = make("0")
    valid = make("2")
    assert valid != expired
    assert make("2") == valid
    assert (tmp_path / "tls/postgres.key").stat().st_mode & 0o077 == 0

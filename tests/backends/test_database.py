"""Database connections: time limits, the pool, and management commands."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import psycopg
import pytest
from django.conf import settings as django_settings
from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.backends.postgresql.base import DatabaseWrapper
from psycopg_pool import TooManyRequests

from accounts.models import User
from backends.database import (
    TRUSTED_AFTER_REPLY,
    TimeoutConnection,
    pool_options,
    set_role_limits,
    statement_timeout,
    warn_about_server,
)
from tests import forked
from tests.backends.conftest import wait_for
from tests.backends.proxy import Proxy


@pytest.fixture
def proxied(postgres: Proxy) -> Iterator[DatabaseWrapper]:
    """The database, over a pool whose connections pass through the proxy."""
    database = cast(DatabaseWrapper, connection.copy("proxied"))
    database.settings_dict |= {"HOST": "127.0.0.1", "PORT": str(postgres.port)}
    yield database
    postgres.resume()
    database.close()
    database.close_pool()


def limit() -> str:
    """Return the statement_timeout that the server applies now."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        return str(cursor.fetchone()[0])


def sleep(seconds: float) -> None:
    """Run a statement that takes this long."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


@pytest.mark.django_db(transaction=True)
def test_connections_return_to_the_pool() -> None:
    def work() -> None:
        try:
            User.objects.count()
        finally:
            connection.close()

    pool = connection.pool  # type: ignore[attr-defined]
    before = pool.get_stats()
    for _ in range(3):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    after = pool.get_stats()
    opened = after["connections_num"] - before.get("connections_num", 0)
    assert opened <= django_settings.ENV.DATABASE_POOL_SIZE
    assert after["requests_num"] - before.get("requests_num", 0) == 24


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


@pytest.mark.waits
@pytest.mark.django_db(transaction=True)
def test_statement_of_a_request_is_ended_after_three_seconds() -> None:
    start = time.monotonic()
    with pytest.raises(OperationalError, match="statement timeout"):
        sleep(3.7)
    assert time.monotonic() - start == pytest.approx(3, abs=0.5)


def idle_transaction(seconds: float) -> None:
    try:
        with transaction.atomic():
            User.objects.count()
            time.sleep(seconds)
            User.objects.count()
    finally:
        connection.close()


@pytest.mark.waits
@pytest.mark.django_db(transaction=True)
def test_idle_transaction_of_a_request_is_ended_after_ten_seconds() -> None:
    with ThreadPoolExecutor() as threads:
        shorter, longer = (threads.submit(idle_transaction, seconds) for seconds in (9, 11))
        shorter.result()
        with pytest.raises(DatabaseError, match="idle-in-transaction timeout"):
            longer.result()


@pytest.mark.django_db(transaction=True)
def test_role_limits_are_changed_with_and_without_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    pooled = cast(DatabaseWrapper, connection)
    single = cast(DatabaseWrapper, connection.copy("single"))
    single.settings_dict["OPTIONS"] = single.settings_dict["OPTIONS"] | {"pool": False}
    # Tests in other processes have the same role, so the limit hardly changes. The third call
    # finds it set.
    for database, limit in ((single, 10_001), (pooled, 10_000), (pooled, 10_000)):
        monkeypatch.setattr("backends.database.IDLE_IN_TRANSACTION_TIMEOUT", limit)
        set_role_limits(database, django_settings.ENV)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT setconfig FROM pg_db_role_setting WHERE setrole = current_user::regrole"
            )
            settings = cursor.fetchone()[0]
        expected = {"statement_timeout=3000ms", f"idle_in_transaction_session_timeout={limit}ms"}
        assert expected <= {*settings}
    # Another migrate sets the limit at the same time, and PostgreSQL refuses the second one.
    monkeypatch.setattr("backends.database.IDLE_IN_TRANSACTION_TIMEOUT", 10_001)
    with (
        psycopg.connect(**single.get_connection_params()) as other,
        ThreadPoolExecutor(1) as threads,
        connection.cursor() as cursor,
    ):

        def blocks() -> bool:
            waiting = "SELECT FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
            cursor.execute(waiting, [other.info.backend_pid])
            return bool(cursor.rowcount)

        other.execute("ALTER ROLE CURRENT_USER SET idle_in_transaction_session_timeout = '10000ms'")
        second = threads.submit(set_role_limits, single, django_settings.ENV)
        wait_for(blocks, 10)
        other.commit()
        second.result(10)


@pytest.mark.django_db(transaction=True)
def test_four_requests_wait_for_each_connection_and_others_fail_at_once() -> None:
    database: Any = connection.copy("small")
    env = dataclasses.replace(django_settings.ENV, DATABASE_POOL_SIZE=1)
    options = database.settings_dict["OPTIONS"] | {"pool": pool_options(env)}
    database.settings_dict = database.settings_dict | {"OPTIONS": options}
    pool = database.pool
    pool.open()
    used = pool.getconn(timeout=10)
    with ThreadPoolExecutor(4) as threads:

        def take_and_return() -> None:
            pool.putconn(pool.getconn(timeout=20))

        waiting = [threads.submit(take_and_return) for _ in range(4)]
        wait_for(lambda: pool.get_stats()["requests_waiting"] == 4, 10)
        with pytest.raises(TooManyRequests):
            pool.getconn(timeout=0.1)
        pool.putconn(used)
        for each in waiting:
            each.result(10)
    database.close_pool()


@pytest.mark.django_db
def test_wait_for_notifications_may_have_a_time_limit_of_its_own() -> None:
    params = cast(DatabaseWrapper, connection).get_connection_params()
    with TimeoutConnection.connect(**params, autocommit=True) as server:
        server.reply_timeout = 0.1
        assert list(server.notifies(timeout=0.3)) == []
        assert server.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.waits
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("limit", "takes"), [(6, 4.5), (0, 1.5)])
def test_view_can_raise_or_lift_its_statement_timeout(limit: float, takes: float) -> None:
    with statement_timeout(limit):
        # Longer than the client waits for other statements, which may take 3 s or this limit.
        sleep(takes)


@pytest.mark.django_db(transaction=True)
def test_view_can_lower_its_statement_timeout() -> None:
    start = time.monotonic()
    with pytest.raises(OperationalError, match="statement timeout"), statement_timeout(0.2):
        sleep(2)
    assert time.monotonic() - start < 1
    assert limit() == "3s"


@pytest.mark.django_db(transaction=True)
def test_statement_timeout_ends_with_its_block() -> None:
    with transaction.atomic():
        with statement_timeout(60):
            assert limit() == "1min"
            assert connection.connection.reply_timeout == 61
        assert limit() == "3s"
        with pytest.raises(KeyError), statement_timeout(60):
            raise KeyError
        assert limit() == "3s"
        assert connection.connection.reply_timeout == 4


def use(database: DatabaseWrapper) -> int:
    """Use a connection of the pool, as a request does, and return the process that served it."""
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    database.close()
    return int(pid)


@pytest.mark.django_db(transaction=True)
def test_only_an_idle_connection_is_checked(postgres: Proxy, proxied: DatabaseWrapper) -> None:
    # Otherwise the first use would open a second connection.
    proxied.pool.open(wait=True)
    use(proxied)
    before = postgres.sent
    use(proxied)
    assert postgres.sent == before + 1
    time.sleep(TRUSTED_AFTER_REPLY)
    use(proxied)
    assert postgres.sent == before + 3


@pytest.mark.django_db(transaction=True)
def test_connection_that_postgresql_closed_is_replaced(
    proxied: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.database.TRUSTED_AFTER_REPLY", 60)
    pid = use(proxied)
    with connection.cursor() as cursor:
        # Returns when the process has ended, or after five seconds.
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    assert use(proxied) != pid


@pytest.mark.django_db(transaction=True)
def test_silent_postgresql_fails_a_request_within_three_seconds(
    postgres: Proxy, proxied: DatabaseWrapper
) -> None:
    """The pool checks its idle connection for a second, then waits two for another."""
    use(proxied)
    time.sleep(TRUSTED_AFTER_REPLY)
    postgres.pause()
    start = time.monotonic()
    with pytest.raises(OperationalError):
        proxied.ensure_connection()
    assert time.monotonic() - start < 3.3


@pytest.mark.waits
@pytest.mark.django_db(transaction=True)
def test_silent_postgresql_ends_a_statement_after_four_seconds(
    postgres: Proxy, proxied: DatabaseWrapper
) -> None:
    with proxied.cursor() as cursor:
        postgres.pause()
        start = time.monotonic()
        with pytest.raises(OperationalError, match="did not reply"):
            cursor.execute("SELECT 1")
        assert time.monotonic() - start == pytest.approx(4, abs=0.5)


def command(**environment: str) -> dict[str, str]:
    """Return the limits of a management command's connection with these variables set."""
    code = (
        "import json; from django.db import connection; cursor = connection.cursor(); "
        "cursor.execute(\"SELECT current_setting('statement_timeout'), "
        "current_setting('idle_in_transaction_session_timeout')\"); "
        "print(json.dumps([*cursor.fetchone(), "
        "connection.settings_dict['DISABLE_SERVER_SIDE_CURSORS']]))"
    )
    done = forked.run(
        *("manage.py", "shell", "--no-imports", "-c", code),
        env=os.environ | environment,
        cwd=django_settings.SRC,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(("statement", "idle", "no_cursors"), json.loads(done.stdout), strict=True))


def test_command_has_no_time_limits() -> None:
    assert command() == {"statement": "0", "idle": "0", "no_cursors": False}


def test_command_connects_to_direct_url() -> None:
    url = django_settings.ENV.DATABASE_URL or ""
    nowhere = "postgres://nobody:nothing@127.0.0.1:1/nowhere"
    assert command(DATABASE_URL=nowhere, DATABASE_DIRECT_URL=url)["statement"] == "0"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("changes", "warnings"),
    [
        ({}, []),
        ({"DATABASE_STATEMENT_TIMEOUT": 5000}, ["ends a statement after 3000 ms"]),
        (
            {"REPLICAS": 10_000, "DATABASE_POOL_SIZE": 4},
            ["REPLICAS 10000 x WORKERS 2 x (DATABASE_POOL_SIZE 4 + 1 for the probes) = 100000, "],
        ),
    ],
)
def test_settings_that_do_not_fit_postgresql_are_logged(
    changes: dict[str, Any], warnings: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    env = dataclasses.replace(django_settings.ENV, REPLICAS=1, WORKERS=2)
    with caplog.at_level(logging.WARNING, "backends.database"):
        warn_about_server(dataclasses.replace(env, **changes))
    assert len(caplog.messages) == len(warnings)
    assert all(map(str.__contains__, caplog.messages, warnings))

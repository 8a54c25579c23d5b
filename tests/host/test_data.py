"""Snapshots, dumps and demonstration data. The tests share one clone and run in this order."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.host.ports import free_port
from scripts.stack.engine import wait_for
from tests.host.clone import Clone
from tests.host.conftest import MakeClone

NAMES = "SELECT name FROM accounts_user WHERE email = 'ada@example.com'"

NEEDS_LONG_AUTOVACUUM = (
    "CREATE TABLE large AS SELECT repeat('x', 1000) FROM generate_series(1, 10000)",
    "ALTER TABLE large SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)",
    "DELETE FROM large",
)
AUTOVACUUMS = "SELECT datname FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"


@pytest.fixture(scope="module")
def clone(make_clone: MakeClone) -> Clone:
    """A running clone with the demonstration users."""
    clone = make_clone()
    clone.make("up")
    clone.make("fixtures")
    return clone


@pytest.fixture(scope="module")
def dump(clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("dump") / "methodhub.dump"
    assert f"Wrote {file}." in clone.make("db-dump", f"FILE={file}")
    return file


def rename(clone: Clone) -> None:
    """Change a row directly in the database."""
    clone.sql("UPDATE accounts_user SET name = 'Changed' WHERE email = 'ada@example.com'")


def test_snapshot_is_restored_while_web_runs(clone: Clone) -> None:
    web = clone.process("web").pid
    clone.make("db-snapshot", "NAME=before")
    rename(clone)
    assert "FORCE=1 replaces it" in clone.make("db-snapshot", "NAME=before", status=2)
    assert "before" in clone.make("db-snapshots")
    clone.make("db-restore", "NAME=before")
    assert clone.sql(NAMES) == [("Ada",)]
    # The restore has closed web's connections; the pool opens new ones.
    assert clone.get("/admin/login/")[0] == 200
    assert clone.process("web").pid == web
    clone.make("db-drop-snapshot", "NAME=before")
    assert "before" not in clone.make("db-snapshots")
    assert "`make db-snapshots` lists them" in clone.make("db-restore", "NAME=before", status=2)


@pytest.fixture
def autovacuum_every_second(clone: Clone) -> Iterator[None]:
    clone.superuser_sql("ALTER SYSTEM SET autovacuum_naptime = 1")
    clone.superuser_sql("SELECT pg_reload_conf()")
    yield
    clone.superuser_sql("DROP TABLE IF EXISTS large", "methodhub")
    clone.superuser_sql("ALTER SYSTEM RESET autovacuum_naptime")
    clone.superuser_sql("SELECT pg_reload_conf()")


def start_long_autovacuum(clone: Clone, database: str) -> None:
    for statement in NEEDS_LONG_AUTOVACUUM:
        clone.superuser_sql(statement, database)
    wait_for(lambda: (database,) in clone.superuser_sql(AUTOVACUUMS), 30)


def test_autovacuum_does_not_stop_a_snapshot(clone: Clone, autovacuum_every_second: None) -> None:
    clone.make("db-snapshot", "NAME=vacuumed")
    start_long_autovacuum(clone, "methodhub")
    start_long_autovacuum(clone, "methodhub_snapshot_vacuumed")
    clone.make("db-snapshot", "NAME=vacuumed", "FORCE=1")


def test_force_replaces_a_snapshot(clone: Clone) -> None:
    clone.make("db-snapshot", "NAME=again")
    rename(clone)
    clone.make("db-snapshot", "NAME=again", "FORCE=1")
    clone.sql("DELETE FROM accounts_user WHERE email = 'ada@example.com'")
    clone.make("db-restore", "NAME=again")
    assert clone.sql(NAMES) == [("Changed",)]
    clone.sql("UPDATE accounts_user SET name = 'Ada' WHERE name = 'Changed'")


def test_invalid_snapshot_name_gives_one_line_error(clone: Clone) -> None:
    said = clone.make("db-snapshot", "NAME=No/Name", status=2)
    assert "NAME may have lower-case letters, digits and _" in said
    assert "(got 'No/Name')" in said


def test_dump_and_load_overwrite_only_with_force(clone: Clone, dump: Path) -> None:
    assert "FORCE=1 overwrites it" in clone.make("db-dump", f"FILE={dump}", status=2)
    rename(clone)
    assert "FORCE=1 replaces it" in clone.make("db-load", f"FILE={dump}", status=2)
    assert clone.sql(NAMES) == [("Changed",)]
    clone.make("db-load", f"FILE={dump}", "FORCE=1")
    assert clone.sql(NAMES) == [("Ada",)]
    assert "No migrations to apply" in clone.make("migrate")


@pytest.mark.parametrize("kept", [0, 0.01, 0.5, 0.99])
def test_truncated_dump_changes_nothing(
    clone: Clone, dump: Path, tmp_path: Path, kept: float
) -> None:
    whole = dump.read_bytes()
    broken = tmp_path / "broken.dump"
    broken.write_bytes(whole[: int(len(whole) * kept)])
    said = clone.make("db-load", f"FILE={broken}", "FORCE=1", status=2)
    assert "This is not a dump" in said or "The database is unchanged" in said
    assert clone.sql(NAMES) == [("Ada",)]
    databases = "SELECT count(*) FROM pg_database WHERE datname LIKE 'methodhub_fresh'"
    assert clone.sql(databases) == [(0,)]
    assert "Traceback" not in said


def test_missing_or_unnamed_file_gives_one_line_error(clone: Clone) -> None:
    assert "`make db-dump FILE=no.dump` writes one" in clone.make(
        "db-load", "FILE=no.dump", status=2
    )
    assert "for example FILE=methodhub.dump" in clone.make("db-dump", status=2)


def test_seed_makes_the_same_users_every_time(clone: Clone) -> None:
    rows = "SELECT email, name FROM accounts_user ORDER BY email"
    clone.make("db-snapshot", "NAME=unseeded")
    assert "Made 30 users; 0 were there already." in clone.make("seed", "USERS=30")
    once = clone.sql(rows)
    assert "Made 0 users; 30 were there already." in clone.make("seed", "USERS=30")
    clone.make("db-restore", "NAME=unseeded")
    assert clone.sql(rows) != once
    clone.make("seed", "USERS=30")
    assert clone.sql(rows) == once


@pytest.fixture
def debugged(clone: Clone) -> Iterator[int]:
    """Run `make debug` in the foreground, and return the debugger's port."""
    clone.make("down")
    port = free_port()
    with subprocess.Popen(
        ["make", "debug"],
        cwd=clone.folder,
        env=clone.environ() | {"DEBUG_PORT": str(port)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    ) as verb:
        yield port
        # Like Ctrl-C in a terminal.
        os.killpg(verb.pid, signal.SIGINT)
        verb.wait(timeout=20)


def test_debug_serves_the_site_and_the_debugger(clone: Clone, debugged: int) -> None:
    deadline = time.monotonic() + 60
    while not answers(clone.port["web"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert clone.get("/admin/login/")[0] == 200
    # The first message of an editor, in the Debug Adapter Protocol.
    hello = {"seq": 1, "type": "request", "command": "initialize", "arguments": {"adapterID": "t"}}
    body = json.dumps(hello).encode()
    with socket.create_connection(("127.0.0.1", debugged), timeout=20) as client:
        client.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        said = b""
        while b"supportsConditionalBreakpoints" not in said:
            said += (more := client.recv(4096))
            assert more, said


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_up_after_debug_starts_the_usual_web(clone: Clone) -> None:
    clone.make("up")
    assert clone.get("/")[0] == 200


def test_data_of_another_major_version_is_reported(make_clone: MakeClone) -> None:
    clone = make_clone()
    assert "There is no database yet" in clone.make("db-upgrade", status=2)
    data = clone.folder / ".local/postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text("17\n")
    for verb in ("up", "db-upgrade"):
        said = clone.make(verb, status=2)
        assert "PostgreSQL 17 created .local/postgres, and this is 18" in said
        assert "`make db-load FILE=…`" in said
    (data / "PG_VERSION").unlink()

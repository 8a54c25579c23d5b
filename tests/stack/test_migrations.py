"""One-off migrate containers: several at once, as when a deployment is started twice."""

from __future__ import annotations

import collections
import functools
import re
import subprocess

from scripts.stack.engine import Container, Stack, run, wait_for
from tests.stack.figures import figure

AT_ONCE = 4
# ADVISORY_LOCK of src/backends/management/commands/migrate.py.
LOCK = int.from_bytes(b"migrate")
# The role's time limits would end the statement that holds the lock.
NO_LIMITS = "PGOPTIONS=-c statement_timeout=0"


def is_waiting(migrate: Container) -> bool:
    """Return whether a container reports that it waits for another."""
    return "Another migrate is running" in migrate.logs()


def test_each_migration_is_applied_once(stack: Stack) -> None:
    postgres = stack.container("postgres")
    sql = ("sh", "-c", 'psql "$DATABASE_OWNER_URL" -tAc "$1"', "-")
    postgres.exec(*sql, "CREATE DATABASE migrated_at_once")
    login = f"methodhub_owner:{stack.canaries['DATABASE_OWNER_URL']}"
    url = f"postgres://{login}@postgres:5432/migrated_at_once"
    # Containers start one after the other, so the test holds the lock until all of them wait.
    hold = f"SELECT pg_advisory_lock({LOCK}), pg_sleep(600)"
    psql = ("docker", "exec", "--env", NO_LIMITS, postgres.id, "psql", url, "--command", hold)
    holder = subprocess.Popen(psql, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    held = (
        "FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
        "WHERE locktype = 'advisory' AND granted AND datname = 'migrated_at_once'"
    )
    wait_for(lambda: postgres.exec(*sql, f"SELECT count(*) {held}").strip() == "1", 10)
    given = {"DATABASE_OWNER_URL": url}
    containers = [stack.start(service="migrate", env=given) for _ in range(AT_ONCE)]
    try:
        for container in containers:
            wait_for(functools.partial(is_waiting, container), 30)
        postgres.exec(*sql, f"SELECT pg_terminate_backend(pid) {held}")
        holder.wait()
        ends = [run("docker", "wait", container.id).stdout.strip() for container in containers]
        assert ends == ["0"] * AT_ONCE
        logs = [container.logs() for container in containers]
    finally:
        for container in containers:
            container.remove()
    applied = collections.Counter(
        name for log in logs for name in re.findall(r"Applying (\S+)\.\.\. OK", log)
    )
    assert "accounts.0001_initial" in applied
    assert set(applied.values()) == {1}
    postgres.exec(*sql, "DROP DATABASE migrated_at_once WITH (FORCE)")
    figure("migrations", f"{AT_ONCE} migrate at once", f"{len(applied)} applied, each once")


def test_migrate_sets_time_limits_on_a_role_that_lacks_them(stack: Stack) -> None:
    """A volume that an older release created has such a role."""
    postgres = stack.container("postgres")
    sql = ("sh", "-c", 'psql "$DATABASE_URL" -tAc "$1"', "-")
    postgres.exec(*sql, "ALTER ROLE methodhub RESET ALL")
    assert postgres.exec(*sql, "SHOW statement_timeout").strip() == "0"
    stack.compose("run", "--rm", "--no-deps", "migrate")
    assert postgres.exec(*sql, "SHOW statement_timeout").strip() == "3s"
    assert postgres.exec(*sql, "SHOW idle_in_transaction_session_timeout").strip() == "10s"

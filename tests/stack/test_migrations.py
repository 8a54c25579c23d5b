"""Several one-off migrate containers at once, as when a deployment is started twice."""

from __future__ import annotations

import collections
import functools
import re
import subprocess

from scripts.stack.engine import Container, Stack, run, wait_for
from tests.stack.figures import figure

AT_ONCE = 4
# That of src/backends/management/commands/migrate.py.
LOCK = int.from_bytes(b"migrate")


def waits(migrate: Container) -> bool:
    """Return whether a container says that it waits for another."""
    return "Another migrate is running" in migrate.logs()


def test_each_migration_is_applied_once(stack: Stack) -> None:
    postgres = stack.container("postgres")
    sql = ("sh", "-c", 'psql "$DATABASE_URL" -tAc "$1"', "-")
    postgres.exec(*sql, "CREATE DATABASE migrated_at_once")
    url = f"postgres://methodhub:{stack.canaries['DATABASE_URL']}@postgres:5432/migrated_at_once"
    # Containers start one after the other: whoever holds the lock meanwhile lets none begin.
    hold = f"SELECT pg_advisory_lock({LOCK}), pg_sleep(600)"
    psql = ("docker", "exec", postgres.id, "sh", "-c", 'psql "$0" -c "$1"', url, hold)
    holder = subprocess.Popen(psql, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    held = "FROM pg_locks WHERE locktype = 'advisory' AND granted"
    wait_for(lambda: postgres.exec(*sql, f"SELECT count(*) {held}").strip() == "1", 10)
    containers = [stack.start(service="migrate", env={"DATABASE_URL": url}) for _ in range(AT_ONCE)]
    try:
        for one in containers:
            wait_for(functools.partial(waits, one), 30)
        postgres.exec(*sql, f"SELECT pg_terminate_backend(pid) {held}")
        holder.wait()
        assert [run("docker", "wait", one.id).stdout.strip() for one in containers] == ["0"] * 4
        logs = [one.logs() for one in containers]
    finally:
        for one in containers:
            one.remove()
    applied = collections.Counter(
        name for log in logs for name in re.findall(r"Applying (\S+)\.\.\. OK", log)
    )
    assert "accounts.0001_initial" in applied
    assert set(applied.values()) == {1}
    postgres.exec(*sql, "DROP DATABASE migrated_at_once WITH (FORCE)")
    figure("migrations", f"{AT_ONCE} migrate at once", f"{len(applied)} applied, each once")

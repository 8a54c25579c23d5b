"""Several one-off migrate containers at once, as when a deployment is started twice."""

from __future__ import annotations

import collections
import re

from tests.stack.engine import Stack, run
from tests.stack.figures import figure

AT_ONCE = 4


def test_each_migration_is_applied_once(stack: Stack) -> None:
    postgres = stack.container("postgres")
    sql = ("sh", "-c", 'psql "$DATABASE_URL" -tAc "$1"', "-")
    postgres.exec(*sql, "CREATE DATABASE migrated_at_once")
    url = f"postgres://methodhub:{stack.canaries['DATABASE_URL']}@postgres:5432/migrated_at_once"
    containers = [stack.start(service="migrate", env={"DATABASE_URL": url}) for _ in range(AT_ONCE)]
    try:
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

"""A dump of either runtime loads in the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack import engine
from scripts.stack.clone import Clone
from tests.host.clone import Clone as HostClone

PROJECT = f"{engine.PROJECT}-between"
# Rows, a checksum of them, and the number that was given last.
ROWS = """SELECT count(*) || ' ' || md5(string_agg(u::text, ' ' ORDER BY id)) || ' ' ||
    (SELECT last_value FROM accounts_user_id_seq) FROM accounts_user AS u"""


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Clone]:
    """A clone on the engine, running, with users."""
    clone = Clone(tmp_path / "docker", PROJECT, 8810)
    assert clone.run("make", "up").returncode == 0
    assert clone.run("make", "seed", "USERS=20").returncode == 0
    yield clone
    clone.remove()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostClone]:
    """A clone without an engine, with nothing in it yet."""
    clone = HostClone(tmp_path / "host")
    yield clone
    clone.make("down")


def test_a_dump_goes_there_and_back(docker: Clone, host: HostClone, tmp_path: Path) -> None:
    there, back = tmp_path / "there.dump", tmp_path / "back.dump"
    assert docker.run("make", "db-dump", f"FILE={there}").returncode == 0
    host.make("db-load", f"FILE={there}")
    assert host.sql(ROWS) == [(docker.sql(ROWS),)]
    assert "No migrations to apply" in host.make("migrate")
    # More rows, with numbers that go on.
    assert "Made 5 users; 20 were there already." in host.make("seed", "USERS=25")
    host.make("db-dump", f"FILE={back}")
    assert docker.run("make", "db-load", f"FILE={back}", "FORCE=1").returncode == 0
    assert host.sql(ROWS) == [(docker.sql(ROWS),)]
    assert "No migrations to apply" in docker.run("make", "migrate").stdout

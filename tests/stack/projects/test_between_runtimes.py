"""Database dumps move between the Docker and host runtimes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack import engine
from scripts.stack.clone import Clone
from tests.host.clone import Clone as HostClone

PROJECT = f"{engine.PROJECT}-between"
# The number of rows, a checksum of them, and the sequence's last value.
ROWS = """SELECT count(*) || ' ' || md5(string_agg(u::text, ' ' ORDER BY id)) || ' ' ||
    (SELECT last_value FROM accounts_user_id_seq) FROM accounts_user AS u"""


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Clone]:
    """A clone on Docker that runs and has users."""
    clone = Clone(tmp_path / "docker", PROJECT, 8810)
    assert clone.run("make", "up").returncode == 0
    assert clone.run("make", "seed", "USERS=20").returncode == 0
    yield clone
    clone.remove()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostClone]:
    """A clone on the host runtime, without data."""
    clone = HostClone(tmp_path / "host")
    yield clone
    clone.make("down")


def test_dump_loads_in_other_runtime_and_back(
    docker: Clone, host: HostClone, tmp_path: Path
) -> None:
    there, back = tmp_path / "there.dump", tmp_path / "back.dump"
    assert docker.run("make", "db-dump", f"FILE={there}").returncode == 0
    host.make("db-load", f"FILE={there}")
    assert host.sql(ROWS) == [(docker.sql(ROWS),)]
    assert "No migrations to apply" in host.make("migrate")
    # New rows continue the sequence.
    assert "Made 5 users; 20 were there already." in host.make("seed", "USERS=25")
    host.make("db-dump", f"FILE={back}")
    assert docker.run("make", "db-load", f"FILE={back}", "FORCE=1").returncode == 0
    assert host.sql(ROWS) == [(docker.sql(ROWS),)]
    assert "No migrations to apply" in docker.run("make", "migrate").stdout

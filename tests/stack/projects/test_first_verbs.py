"""Each verb as the first one in a fresh clone, where neither an image nor a database exists.

The tests share one clone and run in this order.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from scripts.stack import engine
from scripts.stack.clone import Clone

PROJECT = f"{engine.PROJECT}-first"
ADMIN = "SELECT count(*) FROM accounts_user WHERE email = 'admin@example.com'"
NEW_DATABASE = (
    "psql -qU postgres -c 'DROP DATABASE methodhub WITH (FORCE)'"
    " && psql -qU postgres -f /docker-entrypoint-initdb.d/10-app.sql"
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    clone = Clone(tmp_path_factory.mktemp("first") / "methodhub", PROJECT, 8890)
    clone.turn_mcp_off()
    yield clone
    clone.remove()


def test_env_builds_the_image_and_prints_only_json(clone: Clone) -> None:
    done = clone.run("make", "--silent", "env", "ARGS=--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)


def test_seed_explains_a_taken_port_and_starts_with_another(clone: Clone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        refused = clone.run("make", "seed", REDIS_PORT=port)
        assert refused.returncode != 0
        assert f"Port {port} (REDIS_PORT) is already in use by " in refused.stderr
        assert "make up REDIS_PORT=" in refused.stderr
        done = clone.run("make", "seed", "USERS=3")
    assert "The database is new. Applying migrations first." in done.stderr
    assert "Made 3 users" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("migrate",),
        ("fixtures",),
        ("superuser",),
        ("manage", "CMD=showmigrations accounts"),
        ("shell",),
        ("db-snapshot", "NAME=first"),
    ],
    ids=lambda command: command[0],
)
def test_verb_migrates_a_new_database(clone: Clone, command: tuple[str, ...]) -> None:
    engine.run("docker", "exec", clone.container("postgres"), "sh", "-c", NEW_DATABASE)
    assert clone.run("make", *command).returncode == 0
    assert clone.sql(ADMIN) == "1"


def test_migrated_database_is_not_migrated_again(clone: Clone) -> None:
    # All verbs share this check.
    assert "The database is new" not in clone.run("make", "db-snapshot", "NAME=second").stderr


def test_migrating_a_new_database_leaves_the_dump_intact(clone: Clone) -> None:
    engine.run("docker", "exec", clone.container("postgres"), "sh", "-c", NEW_DATABASE)
    dump = clone.folder / "first.dump"
    assert clone.run("make", "db-dump", f"FILE={dump}").returncode == 0
    assert clone.run("make", "db-load", f"FILE={dump}", "FORCE=1").returncode == 0
    assert clone.sql(ADMIN) == "1"

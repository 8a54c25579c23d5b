"""Each verb as the first one in a fresh clone, where no database exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.host.clone import Clone
from tests.host.conftest import MakeClone

USERS = "SELECT count(*) FROM accounts_user"
SEED = ["seed", "USERS=3"]
COUNT_USERS = "from accounts.models import User; print('users:', User.objects.count())"


@pytest.fixture(scope="module")
def clone(make_clone: MakeClone) -> Clone:
    return make_clone(mcp_hub=False)


@pytest.fixture
def fresh_clone(clone: Clone) -> Clone:
    clone.make("reset", "FORCE=1")
    return clone


@pytest.mark.parametrize(
    ("words", "stdin", "expected"),
    [
        (SEED, "", "Made 3 users; 0 were there already."),
        (["fixtures"], "", "Installed 3 object(s)"),
        (["superuser"], "", "Superuser creation skipped due to not running in a TTY"),
        (["manage", "CMD=showmigrations accounts"], "", "[X] 0001_initial"),
        (["shell"], COUNT_USERS, "users: 1"),
        (["dbshell"], f"{USERS};\n", "(1 row)"),
        (["db-snapshot", "NAME=first"], "", "Saved"),
    ],
    ids=["seed", "fixtures", "superuser", "manage", "shell", "dbshell", "db-snapshot"],
)
def test_verb_migrates_a_new_database(
    fresh_clone: Clone, words: list[str], stdin: str, expected: str
) -> None:
    said = fresh_clone.make(*words, stdin=stdin)
    assert "The database is new. Applying migrations first." in said
    assert expected in said
    assert fresh_clone.sql(f"{USERS} WHERE email = 'admin@example.com'") == [(1,)]


def test_migrated_database_is_not_migrated_again(clone: Clone) -> None:
    # All verbs share this check.
    assert "The database is new." not in clone.make(*SEED)


def test_dump_of_a_new_clone_loads_into_a_new_clone(fresh_clone: Clone, tmp_path: Path) -> None:
    dump = tmp_path / "first.dump"
    assert f"Wrote {dump}." in fresh_clone.make("db-dump", f"FILE={dump}")
    fresh_clone.make("reset", "FORCE=1")
    # FORCE=1 is not needed, because there is no data to replace.
    assert "Loaded the dump." in fresh_clone.make("db-load", f"FILE={dump}")
    assert fresh_clone.sql(USERS) == [(1,)]


def test_other_verbs_work_or_name_the_verb_to_run_first(make_clone: MakeClone) -> None:
    clone = make_clone("other", mcp_hub=False)
    assert "make up" in clone.make("logs", status=2)
    assert "make up" in clone.make("db-upgrade", status=2)
    assert "DATABASE_URL" in clone.make("env")
    assert set(clone.states().values()) == {"stopped"}
    assert "No changes detected" in clone.make("makemigrations")
    assert "True" in clone.make("redis-cli", stdin="ping\n")
    assert "name" in clone.make("db-snapshots")
    for verb in ("db-restore", "db-drop-snapshot"):
        assert "make db-snapshots" in clone.make(verb, "NAME=none", status=2)
    assert "Applying accounts.0001_initial" in clone.make("migrate")

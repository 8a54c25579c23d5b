"""make db-upgrade moves a volume of PostgreSQL 17 to 18, or leaves it as it was.

One volume is created by this project's verbs on PostgreSQL 17. Every test gets a copy of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from scripts.stack import engine
from scripts.stack.clone import Clone
from scripts.stack.engine import Browser, wait_for

PROJECT = f"{engine.PROJECT}-upgrade"
VOLUME = f"{PROJECT}_postgres-data"
KEPT, PRISTINE = f"{VOLUME}-17", f"{VOLUME}-pristine"
SERVERS = [f"{PROJECT}-upgrade-{name}" for name in ("old", "new")]
FILES = f"{PROJECT}-upgrade-files"
# The first words that each step prints.
STEPS = ("stopping", "copying", "starting", "creating", "moving", "comparing", "replacing")
USERS = 50
# The number of rows, the highest id, and the last value of the id sequence.
ROWS = "SELECT count(*), max(id), (SELECT last_value FROM accounts_user_id_seq) FROM accounts_user"
AS_IT_WAS = f"{VOLUME} is as it was."


def remove_volumes(*names: str) -> None:
    engine.run("docker", "rm", "--force", "--volumes", FILES, *SERVERS, check=False)
    engine.run("docker", "volume", "rm", "--force", *names)


def copy(source: str, target: str) -> None:
    """Copy all files from one volume to another."""
    volumes = ("--volume", f"{source}:/from:ro", "--volume", f"{target}:/to")
    engine.run(
        *("docker", "run", "--rm", "--network", "none", "--entrypoint", "cp", *volumes),
        *("postgres:18", "-a", "/from/.", "/to/"),
    )


@contextlib.contextmanager
def server(major: int, volume: str) -> Iterator[str]:
    """Run a server as the official image documents it, and yield the container's id."""
    mount = "/var/lib/postgresql" if major >= 18 else "/var/lib/postgresql/data"
    given = ("--detach", "--network", "none", "--volume", f"{volume}:{mount}")
    name = engine.run("docker", "run", *given, f"postgres:{major}").stdout.strip()
    ready = ("docker", "exec", name, "pg_isready", "--quiet", "--host", "127.0.0.1")
    try:
        wait_for(lambda: engine.run(*ready, check=False).returncode == 0, 60)
        yield name
    finally:
        engine.run("docker", "stop", name)
        engine.run("docker", "rm", "--volumes", name)


def query(name: str, statement: str, database: str = "methodhub") -> str:
    """Run SQL as the superuser in a container, and return what it prints."""
    psql = ("psql", "--username=postgres", "-qtA", "--no-psqlrc", database, "-c", statement)
    return engine.run("docker", "exec", name, *psql).stdout.strip()


def differing_files() -> str:
    """Return the files in which the volume differs from the one of PostgreSQL 17."""
    volumes = ("--volume", f"{VOLUME}:/now:ro", "--volume", f"{PRISTINE}:/then:ro")
    diff = ("docker", "run", "--rm", "--network", "none", *volumes, "--entrypoint", "diff")
    done = engine.run(*diff, "postgres:18", "--brief", "--recursive", "/then", "/now", check=False)
    return done.stdout + done.stderr


def rows(major: int, volume: str) -> str:
    """Return ROWS as a server of this major version reads them in the volume."""
    with server(major, volume) as name:
        return query(name, ROWS)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone on PostgreSQL 17, with users, a snapshot and a further role."""
    clone = Clone(tmp_path_factory.mktemp("upgrade") / "methodhub", PROJECT, 8770)
    clone.turn_mcp_off()
    file = clone.folder / "compose.base.yml"
    original = file.read_text()
    # The data directory of PostgreSQL 17.
    clone.replace("compose.base.yml", "a:/var/lib/postgresql\n", "a:/var/lib/postgresql/data\n")
    remove_volumes(VOLUME, KEPT, PRISTINE, f"{VOLUME}-new")
    old = "POSTGRES_IMAGE=postgres:17"
    assert clone.run("make", "up", old).returncode == 0
    assert clone.run("make", "seed", f"USERS={USERS}", old).returncode == 0
    # The upgrade must not reuse the ids of deleted rows.
    clone.sql("DELETE FROM accounts_user WHERE id = (SELECT max(id) FROM accounts_user)")
    assert clone.run("make", "db-snapshot", "NAME=before", old).returncode == 0
    clone.sql("DELETE FROM accounts_user WHERE id = (SELECT max(id) FROM accounts_user)")
    postgres = clone.container("postgres")
    # The snapshot is one of an earlier release, whose one role owned everything.
    one_role = "REASSIGN OWNED BY methodhub_owner TO methodhub; DROP OWNED BY methodhub_owner"
    query(postgres, one_role, "methodhub_snapshot_before")
    query(postgres, "ALTER DATABASE methodhub OWNER TO methodhub_owner")
    query(postgres, "CREATE ROLE reader LOGIN PASSWORD 'reads'")
    query(postgres, "GRANT SELECT ON accounts_user TO reader")
    assert clone.run("make", "down", old).returncode == 0
    file.write_text(original)
    copy(VOLUME, PRISTINE)
    yield clone
    clone.remove()
    remove_volumes(KEPT, PRISTINE, f"{VOLUME}-new")


@pytest.fixture
def old(clone: Clone) -> str:
    """Restore the volume of PostgreSQL 17, and return its ROWS."""
    assert clone.run("make", "down").returncode == 0
    remove_volumes(VOLUME, KEPT, f"{VOLUME}-new")
    engine.run(
        *("docker", "volume", "create", "--label", f"com.docker.compose.project={PROJECT}"),
        *("--label", "com.docker.compose.volume=postgres-data", VOLUME),
    )
    copy(PRISTINE, VOLUME)
    # `make up` added a superuser, and two users were deleted.
    return f"{USERS - 1}|{USERS - 1}|{USERS + 1}"


def test_up_names_db_upgrade_and_starts_nothing(clone: Clone, old: str) -> None:
    done = clone.run("make", "up")
    assert done.returncode != 0
    assert f"{VOLUME} was created by PostgreSQL 17, but postgres:18 is PostgreSQL 18" in done.stderr
    assert "make db-upgrade" in done.stderr
    # With plain Compose, the image itself refuses the volume.
    assert clone.run("docker", "compose", "up", "--detach", "--wait").returncode != 0
    clone.run("docker", "compose", "down")
    assert rows(17, VOLUME) == old
    # The upgrade works even after the image left an empty folder there.
    assert clone.run("make", "db-upgrade").returncode == 0
    assert rows(18, VOLUME) == old


def test_upgrade_moves_everything_and_keeps_the_old_volume(clone: Clone, old: str) -> None:
    done = clone.run("make", "db-upgrade")
    assert done.returncode == 0
    assert re.search(r"equal: \d\d tables, \d\d sequences", done.stdout)
    remedy = done.stdout.strip().splitlines()[-1].strip()
    assert remedy == f"docker volume rm {KEPT}"
    assert rows(17, KEPT) == old

    up = clone.run("make", "up")
    assert up.returncode == 0
    assert "The database has one role" not in up.stderr
    assert clone.sql("SHOW server_version_num").startswith("18")
    browser = Browser(clone.site)
    browser.login("admin@example.com", "admin")
    assert "Site administration" in browser.get("/admin/").body
    assert "No migrations to apply" in clone.run("make", "migrate").stdout
    # Signing in added no user.
    assert clone.sql(ROWS) == old
    made = "INSERT INTO accounts_user (email, name, password, is_superuser, is_staff, is_active, "
    made += "date_joined) VALUES ('next@example.com', '', '', false, false, true, now())"
    assert clone.sql(f"{made} RETURNING id") == str(USERS + 2)

    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    assert clone.sql(owners) == "methodhub_owner"
    reads = "postgres://reader:reads@127.0.0.1/methodhub"
    count = ("psql", "-qtA", reads, "-c", "SELECT count(*) FROM accounts_user")
    assert engine.run("docker", "exec", clone.container("postgres"), *count).stdout == f"{USERS}\n"

    assert re.search(r"before +\|.*\| \d{4}-\d\d-\d\d", clone.run("make", "db-snapshots").stdout)
    assert clone.run("make", "db-restore", "NAME=before").returncode == 0
    assert clone.sql("SELECT count(*) FROM accounts_user") == str(USERS)
    assert clone.sql(owners) == "methodhub_owner"
    assert "Made 2 users" in clone.run("make", "seed", f"USERS={USERS + 1}").stdout

    again = clone.run("make", "db-upgrade")
    assert again.returncode == 0
    assert "already belongs to PostgreSQL 18" in again.stdout
    engine.run(*remedy.split())


def interrupted(clone: Clone, step: str, how: str) -> str:
    """Kill an upgrade, or its containers, when a step begins. Return its error output."""
    with subprocess.Popen(
        ["make", "db-upgrade"],
        cwd=clone.folder,
        env=clone.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as verb:
        assert verb.stdout
        assert verb.stderr
        for line in verb.stdout:
            if step in line:
                break
        else:
            pytest.fail(verb.stderr.read())
        if how == "verb":
            os.killpg(verb.pid, signal.SIGKILL)
        else:
            wait_for(lambda: kill_containers() or verb.poll() is not None, 30, 0.01)
        verb.stdout.read()
        return verb.stderr.read()


def kill_containers() -> bool:
    """Kill the upgrade's containers, and return whether there was one."""
    killed = [
        engine.run("docker", "kill", name, check=False).returncode for name in (*SERVERS, FILES)
    ]
    return 0 in killed


@pytest.mark.parametrize("how", ["verb", "containers"])
def test_interrupted_upgrade_leaves_the_old_volume_working(
    clone: Clone, old: str, how: str
) -> None:
    """Each upgrade starts with what the interrupted one before it left. The last one completes."""
    # The first step has no container.
    for step in STEPS if how == "verb" else STEPS[1:]:
        errors = interrupted(clone, step, how)
        engine.run("docker", "rm", "--force", "--volumes", FILES, *SERVERS, check=False)
        if step != "replacing":
            assert differing_files() == "", step
            assert how == "verb" or AS_IT_WAS in errors, step
    assert clone.run("make", "db-upgrade").returncode == 0
    assert rows(18, VOLUME) == old
    assert rows(17, KEPT) == old


def test_upgrade_interrupted_after_the_swap_is_completed(clone: Clone, old: str) -> None:
    """The state that a crash leaves right after the new data directory is in place."""
    assert clone.run("make", "db-upgrade").returncode == 0
    copy(PRISTINE, VOLUME)
    engine.run(
        *("docker", "volume", "create", "--label", f"methodhub.kept={KEPT}", f"{VOLUME}-new")
    )
    done = clone.run("make", "db-upgrade")
    assert done.returncode == 0
    assert f"docker volume rm {KEPT}" in done.stdout
    listed = ("run", "--rm", "--entrypoint", "ls", "--volume", f"{VOLUME}:/v", "postgres:18", "/v")
    assert engine.run("docker", *listed).stdout.split() == ["18"]
    assert f"{VOLUME}-new" not in engine.run("docker", "volume", "ls", "--quiet").stdout
    assert rows(18, VOLUME) == old


def test_upgrade_stops_when_rows_differ(clone: Clone, old: str) -> None:
    # A dump omits the rows of tables that belong to an extension.
    with server(17, VOLUME) as name:
        query(name, "CREATE TABLE lost AS SELECT 1 AS one; ALTER EXTENSION citext ADD TABLE lost")
    done = clone.run("make", "db-upgrade")
    assert done.returncode != 0
    assert "< methodhub table lost|1" in done.stderr
    assert "The rows in PostgreSQL 18 differ from those in PostgreSQL 17" in done.stderr
    assert AS_IT_WAS in done.stderr
    assert rows(17, VOLUME) == old
    left = engine.run("docker", "volume", "ls", "--quiet").stdout.split()
    assert not {KEPT, f"{VOLUME}-new"} & set(left)


def test_obstacle_is_reported_with_its_remedy(clone: Clone, old: str) -> None:
    done = clone.run("make", "db-upgrade", POSTGRES_OLD_IMAGE="redis:8")
    assert done.returncode != 0
    assert "redis:8 is another version. Set POSTGRES_OLD_IMAGE" in done.stderr
    with server(17, VOLUME) as name:
        done = clone.run("make", "db-upgrade")
        assert done.returncode != 0
        assert f"uses the volume {VOLUME}. Stop it: docker stop " in done.stderr
        assert query(name, ROWS) == old
    engine.run("docker", "volume", "create", KEPT)
    done = clone.run("make", "db-upgrade")
    assert done.returncode != 0
    assert f"docker volume rm {KEPT}" in done.stderr
    assert rows(17, VOLUME) == old

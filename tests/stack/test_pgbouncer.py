"""PgBouncer in transaction mode between web and PostgreSQL, as docs/scaling.md recommends."""

from __future__ import annotations

import collections
import functools
import os
import re
import threading
from collections.abc import Iterator

import pytest

from scripts.stack.engine import PROJECT, Answer, Browser, Container, Stack, run, wait_for
from tests.stack.figures import figure

IMAGE = f"{PROJECT}-pgbouncer"
POOL_SIZE = 4  # default_pool_size of pgbouncer/pgbouncer.ini
CROWD = 60


class Pooler:
    """PgBouncer in the stack's network, and a web container that connects through it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.password = stack.canaries["DATABASE_URL"]
        self.owner_password = stack.canaries["DATABASE_OWNER_URL"]
        bundle = os.environ.get("CA_BUNDLE", "docker/no-ca-bundle.pem")
        image = os.environ.get("PYTHON_IMAGE", "python:3.13-slim-trixie")
        run(
            *("docker", "build", "--quiet", "--tag", IMAGE, "tests/stack/pgbouncer"),
            *("--secret", f"id=ca_bundle,src={bundle}", "--build-arg", f"PYTHON_IMAGE={image}"),
        )
        # With these labels, the next run finds and removes the container that a killed run left.
        labels = (("project", PROJECT), ("service", "pgbouncer"))
        self.id = run(
            *("docker", "run", "--detach", "--network", stack.data),
            *("--network-alias", "pgbouncer"),
            *(f"--label=com.docker.compose.{name}={value}" for name, value in labels),
            *(
                "--env",
                f"PASSWORD={self.password}",
                "--env",
                f"OWNER_PASSWORD={self.owner_password}",
            ),
            IMAGE,
        ).stdout.strip()

    def start(self, *command: str) -> Container:
        """Start a web container that connects through the pooler."""
        url = f"postgres://methodhub:{self.password}@pgbouncer:6432/methodhub"
        return self.stack.start(*command, env={"DATABASE_URL": url})

    def migrate(self, database: str, server: str = "pgbouncer:6432") -> Container:
        """Start a migrate of another database, through the pooler or beside it."""
        url = f"postgres://methodhub_owner:{self.owner_password}@{server}/{database}"
        return self.stack.start(service="migrate", env={"DATABASE_OWNER_URL": url})

    def remove(self) -> None:
        run("docker", "rm", "--force", self.id)
        run("docker", "rmi", "--force", IMAGE)


@pytest.fixture(scope="module")
def pooler(stack: Stack) -> Iterator[Pooler]:
    made = Pooler(stack)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def pooled_web(pooler: Pooler) -> Iterator[Container]:
    """A web container behind the pooler."""
    web = pooler.start()
    yield web.wait_ready()
    web.remove()


def sql(stack: Stack, statement: str) -> str:
    command = ("sh", "-c", 'psql "$DATABASE_OWNER_URL" -tAc "$1"', "-", statement)
    return stack.container("postgres").exec(*command).strip()


def manage(pooler: Pooler, *arguments: str) -> str:
    """Run a management command through the pooler and return its output."""
    container = pooler.start("python", "manage.py", *arguments)
    try:
        assert run("docker", "wait", container.id).stdout.strip() == "0", container.logs()
        return container.logs()
    finally:
        container.remove()


def sign_in(web: Container) -> Browser:
    browser = web.browser()
    password = web.stack.canaries["DJANGO_SUPERUSER_PASSWORD"]
    assert browser.login("admin@example.com", password).status == 302
    return browser


def test_pages_work_through_a_transaction_pooler(stack: Stack, pooled_web: Container) -> None:
    browser = sign_in(pooled_web)
    for path in (
        *("/", "/admin/", "/admin/accounts/user/", "/admin/accounts/user/?q=admin"),
        *("/admin/auth/group/add/", "/accounts/password_change/", "/readyz"),
    ):
        assert browser.get(path).status == 200, path
    assert browser.post("/admin/auth/group/add/", {"name": "pooled"}).status == 302
    assert "pooled" in browser.get("/admin/auth/group/").body
    found: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: found.append(browser.get("/admin/", timeout=30)))
        for _ in range(CROWD)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in found} == {200}
    address = run(
        *(
            "docker",
            "inspect",
            "--format",
            "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        ),
        run("docker", "ps", "--quiet", "--filter", f"ancestor={IMAGE}").stdout.strip(),
    ).stdout.strip()
    servers = int(
        sql(stack, f"SELECT count(*) FROM pg_stat_activity WHERE client_addr = '{address}'")
    )
    assert 1 <= servers <= POOL_SIZE
    figure(
        "PgBouncer, transaction mode",
        f"{CROWD} signed-in pages at once: 200",
        f"{servers} server connections",
    )
    assert browser.post("/accounts/logout/", {}).status == 302
    assert browser.get("/admin/").status == 302


SLOW = """
import os, time, django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()
from django.db import connection
cursor = connection.cursor()
start = time.monotonic()
try:
    cursor.execute("SELECT pg_sleep(10)")
except Exception as error:
    print(error)
print(round(time.monotonic() - start))
"""


def test_slow_statement_through_a_pooler_is_ended_after_three_seconds(
    pooled_web: Container,
) -> None:
    output = pooled_web.python(SLOW)
    assert "statement timeout" in output
    assert output.split()[-1] == "3"


# Prints the time limit of a management command's connection, and whether server-side
# cursors are off.
LIMITS = """
from django.db import connection
cursor = connection.cursor()
cursor.execute("SHOW statement_timeout")
print(cursor.fetchone(), connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"])
"""


def test_command_through_a_pooler_leaves_requests_their_limits(
    pooler: Pooler, pooled_web: Container
) -> None:
    assert "('3s',) True" in manage(pooler, "shell", "--no-imports", "-c", LIMITS)
    manage(pooler, "clearsessions")
    assert "statement timeout" in pooled_web.python(SLOW)


LOCKS = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE locktype = 'advisory' AND datname = '{}'
"""


def test_migrates_through_and_beside_a_pooler_apply_each_migration_once(
    stack: Stack, pooler: Pooler
) -> None:
    database = "migrated_through_pooler"
    sql(stack, f"CREATE DATABASE {database}")
    migrates = [
        pooler.migrate(database),
        pooler.migrate(database),
        pooler.migrate(database, server="postgres:5432"),
    ]
    try:
        ends = [run("docker", "wait", container.id).stdout.strip() for container in migrates]
        logs = [container.logs() for container in migrates]
    finally:
        for container in migrates:
            container.remove()
    assert ends == ["0"] * len(migrates), logs
    applied = collections.Counter(
        name for log in logs for name in re.findall(r"Applying (\S+)\.\.\. OK", log)
    )
    assert "accounts.0001_initial" in applied
    assert set(applied.values()) == {1}
    # The lock is free again.
    assert sql(stack, LOCKS.format(database)) == "0"
    again = pooler.migrate(database)
    try:
        status = wait_for(functools.partial(exit_status, again), 60)[0]
        assert (status, "No migrations to apply" in again.logs()) == ("0", True)
    finally:
        again.remove()
        sql(stack, f"DROP DATABASE {database} WITH (FORCE)")
    figure("PgBouncer, transaction mode", "2 migrate through it, 1 beside it", "each applied once")


def exit_status(container: Container) -> str:
    """Return a container's exit status, or an empty string while it runs."""
    state = container.inspect()["State"]
    return "" if state["Running"] else str(state["ExitCode"])

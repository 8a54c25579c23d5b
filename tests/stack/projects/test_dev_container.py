"""The dev container, opened as an editor opens it, in a fresh clone of another user than root.

The tests share one dev container and its stack, and run in this order.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack import engine
from scripts.stack.clone import Clone
from scripts.stack.engine import Browser

CLI = "@devcontainers/cli@0.89.0"
PROJECT = f"{engine.PROJECT}-dev-container"
WEB_PORT = 8870
# The CLI needs a user that this machine knows.
USER = pwd.getpwnam("nobody")


class DevContainer:
    """The dev container of a clone that belongs to USER."""

    def __init__(self, clone: Clone, cli: Path) -> None:
        self.clone = clone
        self._cli = cli

    def open(self) -> None:
        """Build the image and start the container, as the editor does."""
        assert self._run("up").returncode == 0

    def _run(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = (str(self._cli), verb, "--workspace-folder", str(self.clone.folder), *words)
        home = str(self.clone.folder.parent)
        return self.clone.run(*command, identity=(USER.pw_uid, USER.pw_gid), HOME=home)

    def exec(self, *command: str) -> str:
        """Run a command in the container as the editor's terminal does, and return its output."""
        done = self._run("exec", *command)
        assert done.returncode == 0
        return done.stdout

    def remove(self) -> None:
        """Remove the container, its image and the stack."""
        label = f"label=devcontainer.local_folder={self.clone.folder}"
        for name in engine.run("docker", "ps", "-aq", "--filter", label).stdout.split():
            engine.run("docker", "rm", "--force", name)
        engine.run("docker", "rmi", "--force", f"{PROJECT}-dev-container")
        self.clone.remove()


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A folder that USER may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.fixture(scope="module")
def container(base: Path) -> Iterator[DevContainer]:
    engine.run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(base / "cli"), CLI)
    clone = Clone(base / "methodhub", PROJECT, WEB_PORT)
    names = ("COMPOSE_PROJECT_NAME", "WEB_PORT", "POSTGRES_PORT", "REDIS_PORT")
    (clone.folder / ".env").write_text("".join(f"{name}={clone.environ[name]}\n" for name in names))
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    for words in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "-m", "Clone")):
        assert clone.run("git", *identity, *words).returncode == 0
    for path in [clone.folder, *clone.folder.rglob("*")]:
        os.chown(path, USER.pw_uid, USER.pw_gid)
    container = DevContainer(clone, base / "cli/node_modules/.bin/devcontainer")
    try:
        container.open()
        yield container
    finally:
        container.remove()


def test_opening_starts_the_site(container: DevContainer) -> None:
    assert Browser(container.clone.site).get("/").status == 200


def test_git_status_shows_a_file_created_inside(container: DevContainer) -> None:
    assert container.exec("sh", "-c", "touch made && git status --porcelain") == "?? made\n"


def test_file_created_inside_belongs_to_the_host_user(container: DevContainer) -> None:
    made = (container.clone.folder / "made").stat()
    assert (made.st_uid, made.st_gid) == (USER.pw_uid, USER.pw_gid)


def test_make_test_inside_runs_on_the_running_services(container: DevContainer) -> None:
    before = container.clone.container("postgres")
    assert re.search(r"=+ \d+ passed", container.exec("make", "test", "T=tests/home"))
    assert container.clone.container("postgres") == before


def test_make_down_inside_stops_the_stack(container: DevContainer) -> None:
    container.exec("make", "down")
    assert container.clone.container("web") == ""

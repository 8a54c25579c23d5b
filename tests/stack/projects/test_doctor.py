"""make doctor on the real engine: problems with volumes, ports and environments.

The tests run in order on one clone of the project: each starts where the previous one ended.
tests/doctor covers engines that this machine does not have.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack import engine
from scripts.stack.clone import Clone

PROJECT = f"{engine.PROJECT}-doctor"
WEB_PORT = 8730


class Patient(Clone):
    """A clone, and the problems that its doctor reports."""

    def problems(self, **variables: str) -> dict[str, str]:
        """Return each failed check's problems and remedies, by its name."""
        given = [f"{name}={value}" for name, value in variables.items()]
        rows = json.loads(self.run("make", "--silent", "doctor", "JSON=1", *given).stdout)
        found: dict[str, str] = {}
        for row in rows:
            if row["status"] == "bad":
                found.setdefault(row["check"], "")
                found[row["check"]] += f"{row['text']} {row['remedy']}\n"
        return found


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    """A fresh clone that runs."""
    clone = Patient(tmp_path_factory.mktemp("patient") / "methodhub", PROJECT, WEB_PORT)
    assert clone.run("make", "up").returncode == 0
    yield clone
    clone.remove()


def test_running_stack_has_no_problems(clone: Patient) -> None:
    done = clone.run("make", "doctor")
    assert done.returncode == 0
    assert "No problems found." in done.stdout
    for sentence in (
        "PostgreSQL accepts the password of DATABASE_URL.",
        "PostgreSQL accepts the password of DATABASE_OWNER_URL.",
        "All migrations are applied.",
        "Containers see this folder.",
        "Files that a container creates belong to you.",
        "The mount delivers events for changed files.",
        "The dev target accepts its environment.",
    ):
        assert sentence in done.stdout


def test_unapplied_migrations_are_reported(clone: Patient) -> None:
    clone.sql("DELETE FROM django_migrations WHERE app = 'sessions'; DROP TABLE django_session")
    clone.run("sh", "scripts/compose", "dev", "restart", "web")
    engine.wait_for(lambda: "make migrate" in clone.problems().get("migrations", ""), 30)
    assert clone.run("make", "migrate").returncode == 0
    engine.wait_for(lambda: not clone.problems(), 30)


def test_second_clone_with_same_project_name_is_reported(clone: Patient, tmp_path: Path) -> None:
    other = Patient(tmp_path / "other", PROJECT, WEB_PORT)
    found = other.problems()["project_name"]
    assert str(clone.folder) in found
    assert "COMPOSE_PROJECT_NAME=" in found


def test_port_of_another_process_is_reported(clone: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        found = clone.problems(REDIS_PORT=port)["ports"]
        assert f"Port {port} (REDIS_PORT) is already in use by " in found
        done = clone.run("make", "up", REDIS_PORT=port)
    assert done.returncode != 0
    assert "make up REDIS_PORT=" in done.stderr


def test_up_shows_the_problems_of_a_rejected_environment(clone: Patient) -> None:
    """Compose alone reports only that a container restarts.

    web, the worker and migrate fail for the same reason. The log of a container that has failed is
    shown; on a busy machine migrate may be the first.
    """
    file = clone.folder / "env/dev.env"
    original = file.read_text()
    file.write_text(f"{original}WORKERS=many\nKEEP_ALIVE=0\n")
    done = clone.run("make", "up")
    assert done.returncode != 0
    title = r"^((web|worker): Restarting \(78\).*|migrate failed)\. Its last lines:$"
    assert re.search(title, done.stderr, re.MULTILINE)
    for words in ("has 2 problems", "WORKERS", "KEEP_ALIVE", "from 1 to 64"):
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "KEEP_ALIVE" in clone.problems()["dev_container"]
    shown = clone.run("make", "env")
    assert shown.returncode != 0
    assert "WORKERS" in shown.stdout
    file.write_text(original)
    assert clone.run("make", "up").returncode == 0


def apply_remedy(clone: Patient, errors: str) -> None:
    """Run the remedy that `make up` printed. `make up` must work afterwards."""
    remedy = errors.split("Try: ")[1].splitlines()[0]
    assert clone.run("sh", "-c", remedy).returncode == 0
    assert clone.run("make", "up").returncode == 0


def test_remedy_for_changed_password_keeps_the_data(clone: Patient) -> None:
    clone.sql("CREATE TABLE kept AS SELECT 42 AS answer")
    clone.replace("env/backing-services.env", "methodhub-local", "methodhub-changed")
    done = clone.run("make", "up")
    assert done.returncode != 0
    assert "created with another password than env/backing-services.env" in done.stderr
    apply_remedy(clone, done.stderr)
    assert clone.sql("SELECT answer FROM kept") == "42"


def test_changed_password_is_explained_on_a_cold_start(clone: Patient) -> None:
    clone.run("make", "down")
    clone.replace("env/backing-services.env", "methodhub-changed", "methodhub-again")
    done = clone.run("make", "up")
    assert done.returncode != 0
    assert "migrate failed. Its last lines:" in done.stderr
    assert "The volume was created with another password" in done.stderr
    apply_remedy(clone, done.stderr)

"""make doctor on the real engine: volumes, ports and environments that are not right.

The tests of this module run in their order on one copy of the project, which goes on from where the
last one ended. Engines that this machine has not are in tests/doctor.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack import engine
from scripts.stack.clone import Clone

PROJECT = f"{engine.PROJECT}-doctor"
WEB_PORT = 8730


class Patient(Clone):
    """A clone, and what its doctor says."""

    def wrong(self, **choices: str) -> dict[str, str]:
        """Return what the doctor finds wrong, and the remedy, by check."""
        chosen = [f"{name}={value}" for name, value in choices.items()]
        rows = json.loads(self.run("make", "--silent", "doctor", "JSON=1", *chosen).stdout)
        found: dict[str, str] = {}
        for row in rows:
            if row["status"] == "bad":
                said = f"{row['text']} {row['remedy']}\n"
                found[row["check"]] = found.get(row["check"], "") + said
        return found


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    """Start a fresh clone; afterwards delete it all."""
    clone = Patient(tmp_path_factory.mktemp("patient") / "methodhub", PROJECT, WEB_PORT)
    assert clone.run("make", "up").returncode == 0
    yield clone
    clone.remove()


def test_all_is_well(clone: Patient) -> None:
    done = clone.run("make", "doctor")
    assert done.returncode == 0
    assert "All is well." in done.stdout
    for sentence in (
        "PostgreSQL takes the password of DATABASE_URL.",
        "All migrations are applied.",
        "Containers see this folder.",
        "Files that a container makes are yours.",
        "Changed files are noticed in the mount.",
        "The dev target accepts its environment.",
    ):
        assert sentence in done.stdout


def test_pending_migrations(clone: Patient) -> None:
    clone.sql("DELETE FROM django_migrations WHERE app = 'sessions'; DROP TABLE django_session")
    clone.run("sh", "scripts/compose", "dev", "restart", "web")
    engine.wait_for(lambda: "make migrate" in clone.wrong().get("migrations", ""), 30)
    assert clone.run("make", "migrate").returncode == 0
    engine.wait_for(lambda: not clone.wrong(), 30)


def test_another_clone_holds_the_name(clone: Patient, tmp_path: Path) -> None:
    other = Patient(tmp_path / "other", PROJECT, WEB_PORT)
    found = other.wrong()["clone"]
    assert str(clone.folder) in found
    assert "COMPOSE_PROJECT_NAME=" in found


def test_port_of_a_stranger(clone: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        found = clone.wrong(REDIS_PORT=port)["ports"]
        assert f"Port {port} (REDIS_PORT) is taken by " in found
        done = clone.run("make", "up", REDIS_PORT=port)
    assert done.returncode != 0
    assert "make up REDIS_PORT=" in done.stderr


def test_up_shows_the_table_of_a_refused_environment(clone: Patient) -> None:
    """Compose alone says no more than that a container restarts."""
    file = clone.folder / "env/dev.env"
    sound = file.read_text()
    file.write_text(f"{sound}WORKERS=many\nKEEP_ALIVE=0\n")
    done = clone.run("make", "up")
    assert done.returncode != 0
    for words in ("Restarting (78)", "has 2 problems", "WORKERS", "KEEP_ALIVE", "from 1 to 64"):
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "KEEP_ALIVE" in clone.wrong()["inside"]
    shown = clone.run("make", "env")
    assert shown.returncode != 0
    assert "WORKERS" in shown.stdout
    file.write_text(sound)
    assert clone.run("make", "up").returncode == 0


def take_remedy(clone: Patient, said: str) -> None:
    """Do what `make up` said would help, and see that it does."""
    remedy = said.split("Try: ")[1].splitlines()[0]
    assert clone.run("sh", "-c", remedy).returncode == 0
    assert clone.run("make", "up").returncode == 0


def test_the_remedy_for_another_password_keeps_the_data(clone: Patient) -> None:
    clone.sql("CREATE TABLE kept AS SELECT 42 AS answer")
    clone.replace("env/backing-services.env", "methodhub-local", "methodhub-changed")
    done = clone.run("make", "up")
    assert done.returncode != 0
    assert "made with another password than env/backing-services.env" in done.stderr
    take_remedy(clone, done.stderr)
    assert clone.sql("SELECT answer FROM kept") == "42"


def test_another_password_shows_also_when_nothing_ran_before(clone: Patient) -> None:
    clone.run("make", "down")
    clone.replace("env/backing-services.env", "methodhub-changed", "methodhub-again")
    done = clone.run("make", "up")
    assert done.returncode != 0
    assert "migrate failed. Its last lines:" in done.stderr
    assert "The volume was made with another password" in done.stderr
    take_remedy(clone, done.stderr)

"""Make's choice of a runtime, with a stub of `docker` in place of the engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from scripts.stack.project_copy import ROOT

HAS_IMAGES = "exit 0"
HAS_NO_IMAGE = "exit 1"
UNREACHABLE = "echo 'lookup registry-1.docker.io: no such host' >&2; exit 1"
PULLING = "echo '18: Pulling from library/postgres'; exec sleep 60"
HANGING = "exec sleep 60"
FALLBACK = "Runtime: host (the engine has no {image}, and no registry offers it)."
DOCKER = ("docker", "Runtime: docker (engine 99.9 answers).")

type Choose = Callable[..., tuple[str, str]]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the files that the choice depends on, and no stack."""
    shutil.copytree(
        ROOT / "scripts", tmp_path / "clone/scripts", ignore=lambda folder, names: ["bench", "host"]
    )
    shutil.copy(ROOT / "compose.base.yml", tmp_path / "clone")
    return tmp_path / "clone"


@pytest.fixture
def choose(clone: Path, tmp_path: Path) -> Choose:
    """Return a function that runs choose-runtime and returns its stdout and stderr.

    Each keyword is a subcommand of docker, and its value the shell code that the stub runs for it.
    """

    def choose(*arguments: str, **engine: str) -> tuple[str, str]:
        answers = {"version": "echo 99.9", "image": HAS_IMAGES, "ps": ""} | engine
        cases = "\n".join(f"{command}) {answer} ;;" for command, answer in answers.items())
        stub = tmp_path / "docker"
        stub.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}\n*) exit 1 ;;\nesac\n')
        stub.chmod(0o755)
        mark = f"mark-{os.getpid()}-{time.monotonic()}"
        done = subprocess.run(
            ["sh", "scripts/choose-runtime", *arguments],
            cwd=clone,
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "MARK": mark},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        time.sleep(0.1)
        left = [process.name() for process in psutil.process_iter() if is_marked(process, mark)]
        assert left == []
        return done.stdout.strip(), done.stderr.strip()

    return choose


def is_marked(process: psutil.Process, mark: str) -> bool:
    """Tell whether the process inherited the variable that marks one run."""
    try:
        return process.environ().get("MARK") == mark
    except psutil.Error:
        return False


def test_answering_engine_is_chosen_without_delay(choose: Choose) -> None:
    began = time.monotonic()
    assert choose("", "up") == DOCKER
    assert time.monotonic() - began < 2


def test_hanging_engine_falls_back_to_host(choose: Choose) -> None:
    expected = ("host", "Runtime: host (no Docker engine answers).")
    assert choose("", "up", version=HANGING) == expected


def test_forcing_docker_without_an_engine_gives_one_line_error(choose: Choose) -> None:
    chosen, said = choose("docker", "up", version="exit 1")
    assert chosen == ""
    assert said == "No Docker engine answers. Start Docker and try again, or use RUNTIME=host."


def test_unknown_runtime_gives_one_line_error(choose: Choose) -> None:
    assert choose("podman", "up") == ("", "RUNTIME must be docker or host (got 'podman').")


@pytest.mark.parametrize("verb", ["up", "up-prodlike", "test", "seed"])
def test_missing_image_without_registry_falls_back_to_host(choose: Choose, verb: str) -> None:
    chosen, said = choose("", verb, image=HAS_NO_IMAGE, pull=UNREACHABLE)
    assert (chosen, said) == ("host", FALLBACK.format(image="postgres:18"))


def test_only_the_missing_image_is_named(choose: Choose) -> None:
    only_postgres = '[ "$*" = "image inspect postgres:18" ]'
    _, said = choose("", "up", image=only_postgres, pull=UNREACHABLE)
    assert said == FALLBACK.format(image="redis:8")


def test_hanging_registry_falls_back_to_host(choose: Choose) -> None:
    began = time.monotonic()
    assert choose("", "up", image=HAS_NO_IMAGE, pull=HANGING)[0] == "host"
    assert time.monotonic() - began < 15


def test_missing_image_that_a_registry_offers_keeps_docker(choose: Choose) -> None:
    assert choose("", "up", image=HAS_NO_IMAGE, pull=PULLING) == DOCKER


def test_forced_docker_never_falls_back(choose: Choose) -> None:
    assert choose("docker", "up", image=HAS_NO_IMAGE, pull=UNREACHABLE)[0] == "docker"


def test_running_containers_are_kept_when_an_image_is_pruned(choose: Choose) -> None:
    running = {"image": HAS_NO_IMAGE, "pull": UNREACHABLE, "ps": "echo 0123"}
    assert choose("", "up", **running) == DOCKER


def test_down_follows_the_stack_that_fell_back_to_host(choose: Choose, clone: Path) -> None:
    missing = {"image": HAS_NO_IMAGE, "pull": UNREACHABLE}
    assert choose("", "down", **missing) == DOCKER
    (clone / ".local/run").mkdir(parents=True)
    (clone / ".local/run/web.json").touch()
    chosen, said = choose("", "down", **missing)
    assert chosen == "host"
    assert "the engine has no postgres:18, and the stack was started on the host" in said


def test_present_images_are_never_looked_up_in_a_registry(choose: Choose, clone: Path) -> None:
    assert choose("", "up", pull="touch pulled") == DOCKER
    assert not (clone / "pulled").exists()

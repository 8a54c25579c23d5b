"""A copy of the work tree to run make in, so that the user's own files and stack are untouched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from scripts.host.ports import free_port
from scripts.stack.clone import environment
from scripts.stack.engine import ROOT, run
from scripts.stack.project_copy import copy_project

FOLDER = ROOT / ".local" / "bench"
# Enough for a median; the slowest commands take half a minute each.
RUNS = 5


class MeasureError(Exception):
    """A measured command failed; the message tells the user which."""


class Clone:
    """A copy of the project with its own Compose project and ports."""

    def __init__(self) -> None:
        """Copy tracked and untracked files, and replace the copy that a killed run left."""
        shutil.rmtree(FOLDER / "clone", ignore_errors=True)
        self.folder = copy_project(FOLDER / "clone")
        self.project = os.environ["COMPOSE_PROJECT_NAME"]
        self.log = FOLDER / "log.txt"
        ports = {name: str(free_port()) for name in ("WEB_PORT", "POSTGRES_PORT", "REDIS_PORT")}
        self.env = environment(self.project, 0) | ports | {"FORCE": "1"}
        if bundle := self.env.get("CA_BUNDLE"):
            self.env["CA_BUNDLE"] = str(ROOT / bundle)
        self.url = f"http://127.0.0.1:{ports['WEB_PORT']}"
        self.make("reset")

    def make(self, *arguments: str) -> None:
        """Run make; raises MeasureError when it fails."""
        self.run("make", *arguments)

    def run(self, *command: str) -> str:
        """Run a command in the copy and return its output; raises MeasureError when it fails."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            self.log.write_text(done.stdout + done.stderr)
            raise MeasureError(
                f"`{' '.join(command)}` failed. Its output is in {self._log_name()}."
            )
        return done.stdout

    def time(
        self, command: str, prepare: str = "true", *, warmup: int = 0, runs: int = RUNS
    ) -> list[float]:
        """Time a shell command with hyperfine and return the seconds of each run.

        ``prepare`` runs before each run and is not timed. Raises MeasureError when either fails.
        """
        exported = FOLDER / "hyperfine.json"
        done = subprocess.run(
            [
                *("hyperfine", "--style", "none", "--shell", "sh", "--output", str(self.log)),
                *("--warmup", str(warmup), "--runs", str(runs), "--prepare", prepare),
                *("--export-json", str(exported), f"{command} 2>&1"),
            ],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise MeasureError(
                f"`{command}`, or `{prepare}` before it, failed. Its output is in"
                f" {self._log_name()}.\n{done.stderr.strip()}"
            )
        times: list[float] = json.loads(exported.read_text())["results"][0]["times"]
        return times

    def _log_name(self) -> str:
        return str(self.log.relative_to(ROOT))

    def remove(self) -> None:
        """Stop the stack and delete its data, images and files."""
        self.make("reset")
        images = (f"{self.project}-{name}" for name in ("dev", "ecs", "cold"))
        run("docker", "rmi", "--force", *images, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

"""A copy of the work tree to drive make in: nothing of the user's is edited, stopped or deleted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from scripts.host.services import free_port
from scripts.stack.clone import environment
from scripts.stack.engine import ROOT, run
from scripts.stack.project_copy import copy_project

FOLDER = ROOT / ".local" / "bench"
# As many as make a median; what takes half a minute each is not run more often.
RUNS = 5


class MeasureError(Exception):
    """Something that was to be measured failed; the message is for the user."""


class Clone:
    """The project as it is now, with a Compose project and ports of its own."""

    def __init__(self) -> None:
        """Copy what git has or would add; what a killed run left behind goes first."""
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
                f"`{' '.join(command)}` failed; its output is in {self._log_name()}."
            )
        return done.stdout

    def time(self, command: str, prepare: str = "true", *, warmup: int = 0) -> list[float]:
        """Return the seconds that each run of a shell command takes, by hyperfine.

        ``prepare`` runs before each, and is not counted. Raises MeasureError when either fails.
        """
        exported = FOLDER / "hyperfine.json"
        done = subprocess.run(
            [
                *("hyperfine", "--style", "none", "--shell", "sh", "--output", str(self.log)),
                *("--warmup", str(warmup), "--runs", str(RUNS), "--prepare", prepare),
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
                f"`{command}`, or `{prepare}` before it, failed; its output is in"
                f" {self._log_name()}.\n{done.stderr.strip()}"
            )
        times: list[float] = json.loads(exported.read_text())["results"][0]["times"]
        return times

    def _log_name(self) -> str:
        return str(self.log.relative_to(ROOT))

    def remove(self) -> None:
        """Stop and delete all that was made."""
        self.make("reset")
        images = (f"{self.project}-{name}" for name in ("dev", "ecs", "cold"))
        run("docker", "rmi", "--force", *images, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

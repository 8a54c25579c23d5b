"""A fresh clone of the project, with a Compose project and ports of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from scripts.stack import engine
from scripts.stack.project_copy import copy_project


def environment(project: str, web_port: int) -> dict[str, str]:
    """Return the variables for verbs on a project of its own; port 0 lets the engine choose."""
    # Without what a make around the tests hands down.
    handed_down = ("MAKE", "MFLAGS", "HOST_")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(handed_down) and name not in ("ARGS", "T")
    }
    return inherited | {
        "RUNTIME": "docker",
        "COMPOSE_PROJECT_NAME": project,
        "WEB_PORT": str(web_port),
        "POSTGRES_PORT": str(web_port and web_port + 10),
        "REDIS_PORT": str(web_port and web_port + 11),
    }


class Clone:
    """What git would have in a fresh clone, in a folder of its own, and its verbs."""

    def __init__(self, folder: Path, project: str, web_port: int) -> None:
        """Copy the files, unless the folder is there."""
        self.folder = folder if folder.exists() else copy_project(folder)
        self.project = project
        self.environ = environment(project, web_port)
        self.site = f"http://localhost:{web_port}"

    def run(
        self, *command: str, identity: tuple[int, int] | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone; its output is shown when the test fails.

        ``identity`` is a user and a group, who may also use the engine.
        """
        user, group = identity or (None, None)
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            user=user,
            group=group,
            extra_groups=[os.stat("/var/run/docker.sock").st_gid] if identity else None,
        )
        print(f"$ {' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done

    def replace(self, name: str, old: str, new: str) -> None:
        """Change a file of the clone."""
        file = self.folder / name
        file.write_text(file.read_text().replace(old, new))

    def container(self, service: str) -> str:
        """Return the id of the service's container, one a line; nothing when it does not run."""
        return engine.run(
            *("docker", "ps", "--quiet", "--no-trunc"),
            *("--filter", f"label=com.docker.compose.project={self.project}"),
            *("--filter", f"label=com.docker.compose.service={service}"),
        ).stdout.strip()

    def sql(self, statement: str) -> str:
        """Run SQL as the app's role, over the network, and return what it prints."""
        query = 'exec psql -qtA "$DATABASE_URL" -c "$0"'
        command = ("exec", "-T", "postgres", "sh", "-c", query, statement)
        return self.run("sh", "scripts/compose", "running", *command).stdout.strip()

    def remove(self) -> None:
        """Delete all that was started and built."""
        assert self.run("make", "reset", "FORCE=1").returncode == 0
        engine.run("docker", "rmi", "--force", f"{self.project}-dev", f"{self.project}-ecs")

"""A fresh copy of the project with its own Compose project and ports."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from scripts.stack import engine
from scripts.stack.project_copy import copy_project


def environment(project: str, web_port: int) -> dict[str, str]:
    """Return the environment for make in a separate Compose project; port 0 picks a free one."""
    # Drop the variables that an outer make passes down to the tests.
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
    """A copy of the project in its own folder."""

    def __init__(self, folder: Path, project: str, web_port: int) -> None:
        """Copy the files, unless the folder exists."""
        self.folder = folder if folder.exists() else copy_project(folder)
        self.project = project
        self.environ = environment(project, web_port)
        self.site = f"http://localhost:{web_port}"

    def run(
        self, *command: str, identity: tuple[int, int] | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone; pytest shows its output when the test fails.

        ``identity`` is the user and group id to run as, with access to the engine.
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
        """Replace text in a file of the clone. Raises AssertionError if it is not there."""
        file = self.folder / name
        text = file.read_text()
        assert old in text, f"{name} does not contain: {old}"
        file.write_text(text.replace(old, new))

    def turn_mcp_off(self) -> None:
        """Turn the MCP server off, for tests that migrate many new databases.

        Its library has the migrations that need more than half of the processor time.
        """
        self.replace("env/dev.env", "MCP_HUB=true", "MCP_HUB=false")

    def container(self, service: str) -> str:
        """Return the ids of the service's running containers, one per line."""
        listed = ("docker", "ps", "--quiet", "--no-trunc", *engine.filters(self.project, service))
        return engine.run(*listed).stdout.strip()

    def sql(self, statement: str) -> str:
        """Run SQL as the database's owner over the network and return its output."""
        query = 'exec psql -qtA "$DATABASE_OWNER_URL" -c "$0"'
        command = ("docker", "exec", self.container("postgres"), "sh", "-c", query, statement)
        return self.run(*command).stdout.strip()

    def remove(self) -> None:
        """Delete the stack, its data and its images."""
        assert self.run("make", "reset", "FORCE=1").returncode == 0
        engine.run("docker", "rmi", "--force", f"{self.project}-dev", f"{self.project}-ecs")

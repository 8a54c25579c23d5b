"""A fresh clone of the project with its own ports, driven through make as a user would."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
from pathlib import Path
from typing import Any, LiteralString

import psutil
import psycopg
from dotenv import dotenv_values

from scripts.host.ports import free_port
from scripts.stack.project_copy import ROOT, copy_project

SERVICES = ("postgres", "redis", "web", "worker")


class Clone:
    """A copy of the project in its own folder."""

    def __init__(self, folder: Path, *, with_venv: bool = True, mcp_hub: bool = True) -> None:
        """Copy the files and link this clone's virtual environment, which saves the downloads.

        Without ``mcp_hub``, the migrations need less than half of the processor time.
        """
        self.folder = folder
        self.port = {service: free_port() for service in SERVICES}
        copy_project(folder)
        if with_venv:
            (folder / ".local").mkdir()
            (folder / ".local/venv").symlink_to((ROOT / ".local/venv").resolve())
        if not mcp_hub:
            settings = folder / "env/dev.env"
            settings.write_text(settings.read_text().replace("MCP_HUB=true", "MCP_HUB=false"))

    def make(self, *words: str, status: int = 0, stdin: str = "", **environ: str) -> str:
        """Run make and return its output; fail unless it exits with ``status``."""
        done = subprocess.run(
            ["make", *words],
            cwd=self.folder,
            env=self.environ() | environ,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
            check=False,
        )
        print(f"$ make {' '.join(words)}\n{done.stdout}")
        assert done.returncode == status
        return done.stdout

    def environ(self) -> dict[str, str]:
        """Return the variables that make gets: this clone's ports, and nothing of other clones."""
        kept = ("PATH", "HOME", "USER", "SSL_CERT_FILE", "PIP_CERT", "DOCKER_HOST")
        inherited = {key: os.environ[key] for key in kept if key in os.environ}
        ports = {f"{service.upper()}_PORT": str(port) for service, port in self.port.items()}
        return inherited | ports | {"RUNTIME": "host"}

    def states(self) -> dict[str, str]:
        """Return the state of each service from `make ps`."""
        lines = self.make("--silent", "ps").splitlines()
        table = lines[next(i for i, line in enumerate(lines) if line.startswith("SERVICE")) + 1 :]
        return {line.split()[0]: line[10:24].strip() for line in table}

    def process(self, service: str) -> psutil.Process:
        return psutil.Process(self.record(service)["pid"])

    def record(self, service: str) -> dict[str, Any]:
        """Return the runtime's record of the service's process."""
        record: dict[str, Any] = json.loads(self.record_file(service).read_text())
        return record

    def record_file(self, service: str) -> Path:
        return self.folder / f".local/run/{service}.json"

    def get(self, path: str) -> tuple[int, str]:
        """Request a page from web; return its status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port["web"], timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def sql(self, statement: LiteralString) -> list[tuple[Any, ...]]:
        """Run a statement as the database's owner and return the rows."""
        url = dotenv_values(self.folder / "env/migrate.env")["DATABASE_OWNER_URL"] or ""
        here = url.replace("@postgres:5432/", f"@127.0.0.1:{self.port['postgres']}/")
        with psycopg.connect(here, autocommit=True) as connection:
            return rows(connection.execute(statement))

    def superuser_sql(
        self, statement: LiteralString, database: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        """Run a statement as PostgreSQL's superuser and return the rows."""
        with self.connect("postgres", self.superuser_password, database) as connection:
            return rows(connection.execute(statement))

    @property
    def superuser_password(self) -> str:
        return (self.folder / ".local/postgres.password").read_text()

    def connect(self, user: str, password: str, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port["postgres"],
            dbname=database,
            user=user,
            password=password,
            autocommit=True,
        )


def rows(cursor: psycopg.Cursor) -> list[tuple[Any, ...]]:
    return cursor.fetchall() if cursor.description else []

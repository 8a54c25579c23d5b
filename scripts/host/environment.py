"""The environment variables of the host runtime's processes, as a container would get them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from scripts.host.errors import UserError
from scripts.host.ports import HOST

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
# Host names that Compose gives the backing services, and that env/ therefore uses.
COMPOSE_HOSTS = {"DATABASE_URL": "postgres", "DATABASE_OWNER_URL": "postgres", "REDIS_URL": "redis"}
# Variables of make. The Makefile gives WEB_PORT a default.
PORT_VARIABLES = {"postgres": "POSTGRES_PORT", "redis": "REDIS_PORT", "web": "WEB_PORT"}
# The files that compose.base.yml and the overlay of the target list.
ENV_FILES = {
    "dev": ("backing-services.env", "migrate.env", "dev.env", "secrets.env"),
    "ecs": ("backing-services.env", "ecs-local.env", "secrets.env"),
}
# Variables of the user's own environment that do not configure the app.
INHERITED = ("HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE")


def read_env_files(*names: str) -> dict[str, str]:
    """Return the variables of files in env/. As in Compose, the last file wins."""
    values: dict[str, str] = {}
    for name in names:
        file = dotenv_values(ROOT / "env" / name, interpolate=False)
        values |= {key: value for key, value in file.items() if value is not None}
    return values


def wanted_port(service: str) -> int:
    """Return the port from make's variable, or else from the service's URL.

    Raises UserError if the variable is not a port.
    """
    variable = PORT_VARIABLES[service]
    value = os.environ.get(variable)
    if not value:
        key = next(key for key, host in COMPOSE_HOSTS.items() if host == service)
        value = str(urlsplit(read_env_files("backing-services.env")[key]).port)
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise UserError(
            f"{variable} must be one port from 1 to 65535 when Docker is not used (got {value!r})."
        )
    return int(value)


def minimal_environ() -> dict[str, str]:
    """Return the variables that every process gets. PATH starts with the virtual environment."""
    environ = {key: os.environ[key] for key in INHERITED if key in os.environ}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return environ | {"PATH": path}


def migrate_environ(ports: Mapping[str, int]) -> dict[str, str]:
    """Return the variables of the service migrate that name the backing services."""
    return _on_this_machine(read_env_files("backing-services.env", "migrate.env"), ports)


def _on_this_machine(values: dict[str, str], ports: Mapping[str, int]) -> dict[str, str]:
    """Replace the names of Compose's services with addresses on this machine."""
    for key, host in COMPOSE_HOSTS.items():
        url = urlsplit(values.get(key, ""))
        if url.hostname == host:
            login, at, _ = url.netloc.rpartition("@")
            values[key] = url._replace(netloc=f"{login}{at}{HOST}:{ports[host]}").geturl()
    return values


def app_environ(target: str, port: int, ports: Mapping[str, int]) -> dict[str, str]:
    """Return the app's variables: those of the image, of Compose and of the env files.

    ``port`` is web's own; ``ports`` are those of the backing services.
    """
    image = {
        "TARGET": target,
        "PORT": str(port),
        "PYTHONPATH": str(SRC),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONUNBUFFERED": "1",
    }
    if target == "dev":
        image["SITE_URL"] = f"http://localhost:{port}/"
    env_files = _on_this_machine(read_env_files(*ENV_FILES[target]), ports)
    return minimal_environ() | image | env_files

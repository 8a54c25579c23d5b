"""The environment of the host runtime's processes: what a container would find there."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from scripts.host.trouble import Trouble

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
HOST = "127.0.0.1"
# Compose's names of the backing services in env/, which are addresses of this machine here.
SERVICES = {"DATABASE_URL": "postgres", "REDIS_URL": "redis"}
# make's variables; WEB_PORT has its default in the Makefile.
PORT_VARIABLES = {"postgres": "POSTGRES_PORT", "redis": "REDIS_PORT", "web": "WEB_PORT"}
# The layers of compose.dev.yml and compose.ecs-local.yml.
LAYERS = {
    "dev": ("backing-services.env", "dev.env", "secrets.env"),
    "ecs": ("backing-services.env", "ecs-local.env", "secrets.env"),
}
# All that is taken from the user's own environment: who and where, nothing that configures.
INHERITED = ("HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE")


def read(*names: str) -> dict[str, str]:
    """Return the variables of files in env/, the last one winning, as Compose reads them."""
    values: dict[str, str] = {}
    for name in names:
        file = dotenv_values(ROOT / "env" / name, interpolate=False)
        values |= {key: value for key, value in file.items() if value is not None}
    return values


def wanted_port(service: str) -> int:
    """Return the port that make's variable wants for a service, or else the one of its URL.

    Raises Trouble when the variable holds no port.
    """
    variable = PORT_VARIABLES[service]
    given = os.environ.get(variable)
    if not given:
        key = next(key for key, host in SERVICES.items() if host == service)
        given = str(urlsplit(read("backing-services.env")[key]).port)
    if not given.isdecimal() or not 0 < int(given) < 65536:
        raise Trouble(f"{variable} is {given!r}: without Docker it is one port, 1 to 65535.")
    return int(given)


def minimal() -> dict[str, str]:
    """Return what every process gets, with the virtual environment's programs first on PATH."""
    environ = {key: os.environ[key] for key in INHERITED if key in os.environ}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return environ | {"PATH": path}


def backing_services(ports: Mapping[str, int]) -> dict[str, str]:
    """Return env/backing-services.env with this machine's addresses of the services."""
    values = read("backing-services.env")
    for key, host in SERVICES.items():
        url = urlsplit(values.get(key, ""))
        if url.hostname == host:
            login, at, _ = url.netloc.rpartition("@")
            values[key] = url._replace(netloc=f"{login}{at}{HOST}:{ports[host]}").geturl()
    return values


def app(target: str, port: int, ports: Mapping[str, int]) -> dict[str, str]:
    """Return the environment of the app: what the image and Compose give, and the env files.

    ``port`` is the one that web listens on, ``ports`` are those of the backing services.
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
    return minimal() | image | read(*LAYERS[target]) | backing_services(ports)

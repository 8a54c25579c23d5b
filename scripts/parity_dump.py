"""Print the facts of one target as JSON, without secrets. scripts/parity runs it in each target.

The arguments are the command that the target's image runs. Every fact is a string under a section
and a key, so that parity_compare.py can compare facts without knowing their meaning.
"""

from __future__ import annotations

import json
import os
import platform
import runpy
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from typing import Any

import django
import uvicorn
from django.conf import settings
from django.core.cache import cache
from django.core.management import load_command_class
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.urls import get_resolver
from django.views.debug import SafeExceptionReporterFilter
from gunicorn.util import load_class
from redis.exceptions import RedisError
from uvicorn_worker import UvicornWorker

from environment.contract import CONTRACT

SECRETS = {name for name, entry in CONTRACT.items() if entry.secret}


def mask(text: str) -> str:
    """Replace the values of secret variables with their names.

    Values under eight characters are skipped: they are likely to be parts of other words.
    """
    for name in SECRETS:
        value = os.environ.get(name, "")
        if len(value) >= 8:
            text = text.replace(value, f"<{name}>")
    return text


def flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield each leaf of a setting: the keys of mappings and the elements of lists."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from flat(f"{path}.{key}", part)
    elif isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        for part in value:
            yield f"{path}[{part}]", "yes"
    elif callable(value) and hasattr(value, "__qualname__"):
        yield path, f"{value.__module__}.{value.__qualname__}"
    else:
        # A repr may contain the object's address, which differs between processes.
        yield path, repr(value).partition(" object at 0x")[0].partition(" at 0x")[0]


def all_settings() -> dict[str, str]:
    """Return all settings, with secrets masked by Django's rules and by the contract."""
    safe = SafeExceptionReporterFilter().get_safe_settings()
    # The section "environment" compares these.
    del safe["ENV"]
    found: dict[str, str] = {}
    for name, value in safe.items():
        found |= {key: mask(text) for key, text in flat(name, value)}
    for name in ("INSTALLED_APPS", "MIDDLEWARE"):
        found[f"{name} in order"] = " ".join(safe[name])
    return found


def urls(patterns: list[Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield every route and its view."""
    for pattern in patterns:
        route = f"{before}{pattern.pattern}"
        if hasattr(pattern, "url_patterns"):
            yield from urls(pattern.url_patterns, route)
        else:
            yield f"/{route}", str(pattern.lookup_str)


def services() -> dict[str, str]:
    """Return the versions of the backing services, or the error of one that is unreachable."""
    found: dict[str, str] = {}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW server_version")
            found["PostgreSQL"] = str(cursor.fetchone()[0])
    except DatabaseError as error:
        found["PostgreSQL"] = f"not reachable: {type(error).__name__}"
    try:
        info = cache.client.get_client().info("server")  # type: ignore[attr-defined]
        found["Redis"] = str(info.get("valkey_version") or info["redis_version"])
    except RedisError as error:
        found["Redis"] = f"not reachable: {type(error).__name__}"
    return found


def migrations() -> dict[str, str]:
    """Return the migrations that the target contains, whether or not they are applied."""
    return {".".join(key): "present" for key in MigrationLoader(None).disk_migrations or {}}


def http(command: list[str]) -> dict[str, str]:
    """Return the HTTP server and interface of the image's command."""
    found = {"command": " ".join(command), "PORT": str(settings.ENV.PORT)}
    if "runserver" in command:
        runserver: Any = load_command_class("development", "runserver")
        handler = runserver.get_handler(use_static_handler=False, insecure_serving=False)
        server = runserver.server_cls.__module__
        return found | {
            "interface": "ASGI" if "asgi" in type(handler).__module__ else "WSGI",
            "server": f"uvicorn {uvicorn.__version__}" if "development." in server else server,
        }
    config = runpy.run_path("/app/docker/gunicorn.conf.py")
    worker = load_class(config.get("worker_class", "sync"))
    asgi = issubclass(worker, UvicornWorker)
    return found | {
        "interface": "ASGI" if asgi else "WSGI",
        "server": f"uvicorn {uvicorn.__version__}" if asgi else f"gunicorn {worker.__name__}",
    }


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    print(
        # The prefix tells parity_compare.py this line from log lines.
        "parity: "
        + json.dumps(
            {
                "system": {
                    "Python": platform.python_version(),
                    "OS": platform.freedesktop_os_release()["PRETTY_NAME"],
                    "machine": platform.machine(),
                    "user": f"{os.getuid()}:{os.getgid()}",
                },
                "packages": {
                    found.metadata["Name"].lower().replace("_", "-"): found.version
                    for found in distributions()
                },
                "environment": {
                    name: f"<{name}>" if name.removesuffix("_FILE") in SECRETS else mask(value)
                    for name, value in os.environ.items()
                },
                "settings": all_settings(),
                "urls": dict(urls(get_resolver().url_patterns)),
                "migrations": migrations(),
                "services": services(),
                "http": http(sys.argv[1:]),
            }
        )
    )


main()

"""A valid environment for tests to change, and processes to run in it."""

from __future__ import annotations

import os
import subprocess

from django.conf import settings

from environment.contract import Environment
from environment.reading import read_environment
from environment.report import table
from tests import forked

ROOT = settings.SRC.parent
# Part of every secret in SOUND; printing it would be a leak.
CANARY = "canary0dIeS1ifPRINTED"

SOUND = {
    "TARGET": "ecs",
    "DATABASE_URL": f"postgres://app:{CANARY}@postgres:5432/app?sslmode=require",
    "REDIS_URL": f"rediss://:{CANARY}@redis:6379/0",
    "SECRET_KEY": f"{CANARY}-0123456789-abcdefghijklmnopqrstuvwxyz",
    "ALLOWED_HOSTS": "example.com",
    "TRUSTED_PROXY_COUNT": "1",
}


def without(*names: str) -> dict[str, str]:
    """Return SOUND without some of its variables."""
    return {name: value for name, value in SOUND.items() if name not in names}


def environment(given: dict[str, str] = SOUND, **changes: str) -> Environment:
    """Return the environment with the changes; fails when it has a problem."""
    reading = read_environment(given | changes)
    assert reading.environment is not None, table(reading.problems)
    return reading.environment


def python(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the repository with these variables only."""
    base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(settings.SRC)}
    return forked.run(*arguments, env=base | env, cwd=ROOT)

"""A sound environment to break, and a secret to look for in whatever is printed."""

from __future__ import annotations

import pytest

from environment.contract import CONTRACT, FILE_SUFFIX

# Stands in every secret of SOUND; printed, it would be a leak.
CANARY = "canary0dIeS1ifPRINTED"

SOUND = {
    "TARGET": "ecs",
    "DATABASE_URL": f"postgres://app:{CANARY}@postgres:5432/app?sslmode=require",
    "REDIS_URL": f"rediss://:{CANARY}@redis:6379/0",
    "SECRET_KEY": f"{CANARY}-0123456789-abcdefghijklmnopqrstuvwxyz",
    "ALLOWED_HOSTS": "example.com",
}


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Make SOUND the contract's part of this process's environment; return a copy of it."""
    for name in CONTRACT:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name + FILE_SUFFIX, raising=False)
    for name, value in SOUND.items():
        monkeypatch.setenv(name, value)
    return dict(SOUND)

"""Fixtures of the contract's tests."""

from __future__ import annotations

import pytest

from environment.contract import CONTRACT
from environment.reading import FILE_SUFFIX
from tests.environment.sound import SOUND


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the contract's variables in this process's environment with SOUND."""
    for name in CONTRACT:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name + FILE_SUFFIX, raising=False)
    for name, value in SOUND.items():
        monkeypatch.setenv(name, value)

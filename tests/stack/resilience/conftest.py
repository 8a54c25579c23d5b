"""A stack of these tests' own, so that they run beside the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.stack.engine import PROJECT, Stack
from tests.stack.built import built_stack


@pytest.fixture(scope="session")
def images() -> Iterator[Stack]:
    with built_stack(f"{PROJECT}-resilience") as stack:
        yield stack


@pytest.fixture(scope="session")
def stack(images: Stack) -> Stack:
    images.up()
    return images

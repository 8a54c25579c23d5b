"""Tasks that worker processes run; they write lines into a file to show what they did."""

import time
from pathlib import Path

from django.tasks import task


def write(file: str, line: str) -> None:
    """Append a line in one write, so that lines of several processes do not mix."""
    with Path(file).open("a") as log:
        log.write(f"{line}\n")


@task
def note(file: str, line: str) -> None:
    """Write one line."""
    write(file, line)


@task
def note_slowly(file: str, seconds: float) -> None:
    """Write a line at the start and one at the end."""
    write(file, "start")
    time.sleep(seconds)
    write(file, "end")


@task(timeout=1)  # type: ignore[call-overload, untyped-decorator]
def compute_for_ever(file: str) -> None:
    """Exceed the time limit in Python code."""
    write(file, "start")
    while True:
        time.sleep(0.01)


@task(timeout=1)  # type: ignore[call-overload, untyped-decorator]
def block_for_ever(file: str) -> None:
    """Exceed the time limit in a call that Python cannot interrupt."""
    write(file, "start")
    time.sleep(60)

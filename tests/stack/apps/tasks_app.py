"""Tasks for the worker of the stack tests. They write to a file that every container mounts."""

import time
from pathlib import Path

from django.tasks import task

NOTES = Path("/notes/notes")


@task
def note(name: str, seconds: float = 0) -> None:
    """Write a line at the start and one at the end: the time, the name, and "start" or "end"."""
    _write(f"{name} start")
    time.sleep(seconds)
    _write(f"{name} end")


def _write(line: str) -> None:
    with NOTES.open("a") as file:
        file.write(f"{time.time()} {line}\n")

"""A task that does nothing, so that only the queue is measured."""

from django.tasks import task


@task
def nothing() -> None:
    """Return at once."""

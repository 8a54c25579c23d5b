"""Tasks that belong to no single app."""

from io import StringIO

from django.core.management import call_command
from django.tasks import task


# A clean-up may delete millions of rows; a deployment interrupts one that takes longer than the
# worker's stop timeout, and it runs again.
@task(unique=True, timeout=600)  # type: ignore[call-overload, untyped-decorator]
def run_command(*words: str) -> str:
    """Run a management command, as ``manage.py WORDS…`` does, and return what it printed."""
    output = StringIO()
    call_command(*words, stdout=output, stderr=output)
    return output.getvalue()

"""Settings callbacks and classes that only the dev target uses."""

from collections.abc import Iterable
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest
from django_watchfiles import WatchfilesReloader


def show_toolbar(_request: HttpRequest) -> bool:
    """Show the debug toolbar to every client of a site in debug mode.

    The toolbar's own callback compares the client with INTERNAL_IPS. In a container, every client
    has the address of the network's gateway. The dev port is published on loopback only.
    """
    return bool(settings.DEBUG)


class SourceReloader(WatchfilesReloader):
    """Watch src/ only: watching all installed packages takes most of the time of a reload."""

    def watched_roots(self, watched_files: Iterable[Path]) -> frozenset[Path]:
        """Return the directories to watch, with everything below them."""
        return frozenset([settings.SRC])

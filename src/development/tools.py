"""What only the dev target loads."""

from collections.abc import Iterable
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest
from django_watchfiles import WatchfilesReloader


def show_toolbar(_request: HttpRequest) -> bool:
    """Show the debug toolbar to everybody who reaches a site in debug mode.

    The toolbar's own rule wants the client in INTERNAL_IPS; inside a container every client has
    the address of the network's gateway. The dev port is published on loopback only.
    """
    return bool(settings.DEBUG)


class SourceReloader(WatchfilesReloader):
    """Watch src/ alone: to watch all packages, which no one edits, costs most of a reload."""

    def watched_roots(self, watched_files: Iterable[Path]) -> frozenset[Path]:
        """Return the directories to watch, with all below them."""
        return frozenset([settings.SRC])

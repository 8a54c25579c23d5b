"""What only the dev target loads."""

from django.conf import settings
from django.http import HttpRequest


def show_toolbar(_request: HttpRequest) -> bool:
    """Show the debug toolbar to everybody who reaches a site in debug mode.

    The toolbar's own rule wants the client in INTERNAL_IPS; inside a container every client has
    the address of the network's gateway. The dev port is published on loopback only.
    """
    return bool(settings.DEBUG)

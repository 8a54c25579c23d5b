#!/usr/bin/env python
"""Django's command line with the settings of this project."""

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line


def main() -> None:
    if sys.argv[1:2] not in (["runserver"], ["env"]):
        from backends.database import use_for_command

        use_for_command(settings.DATABASES["default"], settings.ENV)
    execute_from_command_line(sys.argv)


def reloads() -> bool:
    """Return whether the command restarts when the code changes."""
    command = sys.argv[1:2]
    return (command == ["runserver"] and "--noreload" not in sys.argv) or (
        command == ["worker"] and "--reload" in sys.argv
    )


if __name__ == "__main__":  # pragma: no branch - nothing imports this file
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if sys.argv[1:2] == ["env"]:
        # The command must also work in an environment that the settings refuse.
        settings.configure(INSTALLED_APPS=["environment"])
    if reloads():
        from development.supervisor import supervise

        supervise(main)
    main()

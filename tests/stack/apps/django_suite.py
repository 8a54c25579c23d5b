"""Run Django's own tests/asgi against this project's ASGI handler.

Run it in tests/ of Django's source distribution, with src/ and tests/stack/apps/ on PYTHONPATH.
"""

import runpy
import sys

# Imported before the replacement below, because it subclasses Django's own handler.
import django.contrib.staticfiles.handlers
import django.core.asgi
import django.core.handlers.asgi

from serving.asgi_handler import ThreadPoolASGIHandler


class Handler(ThreadPoolASGIHandler):
    """The handler under test, made without arguments as Django's is."""

    def __init__(self) -> None:
        super().__init__(threads=4)


django.core.asgi.ASGIHandler = Handler  # type: ignore[attr-defined]
django.core.handlers.asgi.ASGIHandler = Handler  # type: ignore[misc]
sys.path.insert(0, ".")
sys.argv = ["runtests.py", "asgi", "--settings=django_suite_settings", "--parallel=1"]
runpy.run_path("runtests.py", run_name="__main__")

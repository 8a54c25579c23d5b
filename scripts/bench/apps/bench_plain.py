"""The asgi.py that `startproject` writes: Django with nothing in front of it."""

from django.core.asgi import get_asgi_application

application = get_asgi_application()

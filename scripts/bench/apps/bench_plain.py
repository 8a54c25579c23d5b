"""What `startproject` writes into asgi.py: Django, and nothing in front of it."""

from django.core.asgi import get_asgi_application

application = get_asgi_application()

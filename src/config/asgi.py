"""The ASGI application of both targets: Django, and what is mounted, in the ASGI middleware."""

import os
from typing import cast

import django
from asgiref.typing import ASGI3Application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup(set_prefix=False)

# These modules read the settings, so Django must be set up first.
from django.conf import settings  # noqa: E402

from backends.database import thread_count  # noqa: E402
from probes.asgi import Probes  # noqa: E402
from serving.access_log import AccessLog  # noqa: E402
from serving.asgi_handler import ThreadPoolASGIHandler  # noqa: E402
from serving.mounts import Mounts, load_or_exit  # noqa: E402
from serving.request_body import RequestBodyLimit  # noqa: E402

_django = cast("ASGI3Application", ThreadPoolASGIHandler(thread_count(settings.ENV)))
_mounted = Mounts(_django, load_or_exit(settings.ASGI_MOUNTS))
_limited = RequestBodyLimit(_mounted, settings.ENV.WORKERS)
application = Probes(AccessLog(_limited, settings.ENV.TRUSTED_PROXY_COUNT))

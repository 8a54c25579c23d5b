"""The ASGI application that both targets serve: Django, with what must stand in front of it."""

import os
from typing import cast

from asgiref.typing import ASGI3Application
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
_django = cast("ASGI3Application", get_asgi_application())

# Only now: these read the settings.
from django.conf import settings  # noqa: E402

from config.access_log import AccessLog  # noqa: E402
from config.disconnects import Disconnects  # noqa: E402
from config.errors import Unavailable  # noqa: E402
from probes.asgi import Probes  # noqa: E402

application = Probes(AccessLog(Disconnects(Unavailable(_django)), settings.ENV.TRUSTED_PROXY_COUNT))

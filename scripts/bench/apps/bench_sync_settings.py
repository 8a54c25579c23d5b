"""The benchmark settings for sync workers: a persistent connection, and sessions without cache."""

from config.settings import *  # noqa: F403
from config.settings import DATABASES

ROOT_URLCONF = "bench_urls"
DATABASES["default"] |= {"ATOMIC_REQUESTS": True, "CONN_MAX_AGE": 60}
DATABASES["default"]["OPTIONS"]["pool"] = False
SESSION_ENGINE = "django.contrib.sessions.backends.db"

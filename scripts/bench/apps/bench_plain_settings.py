"""The benchmark settings without a pool: Django's default of a new connection per request."""

from config.settings import *  # noqa: F403
from config.settings import DATABASES

ROOT_URLCONF = "bench_urls"
DATABASES["default"]["OPTIONS"]["pool"] = False

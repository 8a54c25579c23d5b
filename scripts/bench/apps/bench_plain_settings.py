"""The same without a pool: a new connection for each request, Django's default."""

from config.settings import *  # noqa: F403
from config.settings import DATABASES

ROOT_URLCONF = "bench_urls"
DATABASES["default"]["OPTIONS"]["pool"] = False

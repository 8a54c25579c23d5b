"""The project's settings, with further URLs for tests."""

from config.settings import *  # noqa: F403

ROOT_URLCONF = "extra_urls"
ASYNC_PATH_PREFIXES = ("/prefix/",)

"""The project's settings, with further addresses for tests."""

from config.settings import *  # noqa: F403

ROOT_URLCONF = "extra_urls"

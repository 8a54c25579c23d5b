"""The project's settings, with the addresses of the streaming test."""

from config.settings import *  # noqa: F403

ROOT_URLCONF = "streaming_urls"

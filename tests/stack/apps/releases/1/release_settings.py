"""The project's settings, with the app that changes its schema."""

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS as PROJECT_APPS

INSTALLED_APPS = [*PROJECT_APPS, "entries"]
ROOT_URLCONF = "entries.urls"

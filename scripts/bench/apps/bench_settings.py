"""The project's settings with the benchmark URLs."""

from config.settings import *  # noqa: F403

ROOT_URLCONF = "bench_urls"

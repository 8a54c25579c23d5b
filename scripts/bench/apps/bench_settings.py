"""The project's settings, with the addresses that the benchmarks ask."""

from config.settings import *  # noqa: F403

ROOT_URLCONF = "bench_urls"

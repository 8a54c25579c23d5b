"""The settings of Django's own tests, and the setting that this project's ASGI handler reads."""

from test_sqlite import *  # type: ignore[import-not-found]  # noqa: F403

# Below a prefix Django's own handler runs, so there is nothing to compare.
ASYNC_PATH_PREFIXES: tuple[str, ...] = ()

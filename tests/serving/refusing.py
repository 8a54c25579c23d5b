"""An ASGI application that does not start."""

from typing import Any

import config.asgi  # noqa: F401 - sets Django up, which gunicorn's configuration needs


async def application(_scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "Refused for the test."})

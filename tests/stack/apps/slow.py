"""The site with /slow/SECONDS and /fail. Tests mount it; no image contains it."""

import asyncio

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from config.asgi import application as site


async def application(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Answer /slow/SECONDS after that many seconds, fail at /fail, or pass the request on."""
    if scope["type"] == "http" and scope["path"] == "/fail":
        raise RuntimeError("failed on purpose")
    if scope["type"] != "http" or not scope["path"].startswith("/slow/"):
        await site(scope, receive, send)
        return
    await asyncio.sleep(float(scope["path"].removeprefix("/slow/")))
    await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": False})
    await send({"type": "http.response.body", "body": b"done\n", "more_body": False})

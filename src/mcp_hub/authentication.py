"""Who may call an MCP server."""

from __future__ import annotations

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from django.conf import settings
from starlette.responses import PlainTextResponse


def require_token(application: ASGI3Application) -> ASGI3Application:
    """Return the application, open in the dev target and closed in the ecs target.

    This is the place for OAuth. Until it exists, a deployed server must not answer strangers.
    """
    if settings.ENV.TARGET == "dev":
        return application

    async def refuse(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http":
            answer = PlainTextResponse("Sign-in for MCP clients is not configured.", 401)
            await answer(scope, receive, send)  # type: ignore[arg-type]
        else:
            await application(scope, receive, send)

    return refuse

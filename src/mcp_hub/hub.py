"""The site's own MCP server at /mcp, and the pattern for further ones (docs/mcp.md)."""

from __future__ import annotations

from typing import TypedDict

from django.conf import settings
from mcp.server.auth.middleware.auth_context import get_access_token

from accounts.models import User
from mcp_hub.server import Server, serve

server = Server(
    "methodhub",
    title="MCP Method Hub",
    instructions="Call whoami to see who you are on this site.",
)


class Caller(TypedDict):
    """The user and the client application of a call; None without a token."""

    user: str | None
    client: str | None
    scopes: list[str]


@server.tool()
async def whoami() -> Caller:
    """Return the user, the client application and the scopes of this call."""
    token = get_access_token()
    if token is None:
        return {"user": None, "client": None, "scopes": []}
    emails = User.objects.filter(pk=token.subject or 0).values_list("email", flat=True)
    return {"user": await emails.afirst(), "client": token.client_id, "scopes": token.scopes}


@server.resource("methodhub://servers", mime_type="application/json")
def servers() -> dict[str, str | list[str]]:
    """List the paths of this site's MCP servers and the image target that runs."""
    return {"target": settings.ENV.TARGET, "servers": list(settings.ASGI_MOUNTS)}


application = serve(server)

"""Who may call an MCP server: clients with an access token of this site (docs/mcp.md)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, cast

from asgiref.sync import sync_to_async
from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from django.core.handlers.asgi import ASGIRequest
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from oauth2_provider.utils import parse_bearer_token
from oauth2_provider.www_authenticate import build_bearer_challenge
from starlette.responses import JSONResponse, Response
from structlog.contextvars import bind_contextvars

from oauth.resource import find_token, metadata_url
from serving.request_thread import SharedThreads
from serving.unavailability import RETRY_AFTER, TITLE, is_unavailability

# Not those of serving.mounts: slow synchronous tools would delay the checks of all other calls.
_threads = ThreadPoolExecutor(2, "authentication")


def require_token(application: ASGI3Application, needed_scope: str = "mcp") -> ASGI3Application:
    """Return the application for clients with a valid token that has ``needed_scope``.

    Others get 401 or 403, with a header from which they learn how to sign in. In tools, the SDK's
    get_access_token() returns the token; its ``subject`` is the user's primary key.
    """
    application_with_token = AuthContextMiddleware(application)  # type: ignore[arg-type]

    async def protected(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        inner: Any = dict(scope)
        try:
            threads: Any = SharedThreads(_threads)
            authenticate = sync_to_async(_authenticate, thread_sensitive=False, executor=threads)
            answer = await authenticate(inner, needed_scope)
        except Exception as error:
            if not is_unavailability(error):
                raise
            answer = JSONResponse({"error": TITLE}, 503, {"Retry-After": str(RETRY_AFTER)})
        if answer:
            await answer(inner, cast("Any", receive), cast("Any", send))
            return
        token = inner["user"].access_token
        # For the access log.
        bind_contextvars(user=token.subject, oauth_client=token.client_id)
        await application_with_token(inner, cast("Any", receive), cast("Any", send))

    return protected


def _authenticate(scope: dict[str, Any], needed_scope: str) -> Response | None:
    """Add the token's user to the scope, or return the answer that refuses the request."""
    request = ASGIRequest(scope, BytesIO())
    resource = request.build_absolute_uri(scope["root_path"])
    presented = parse_bearer_token(request.headers.get("Authorization", ""))
    token = find_token(presented, resource) if presented else None
    if token and needed_scope in token.scope.split():
        scope["user"] = AuthenticatedUser(
            AccessToken(
                token=presented or "",
                client_id=token.application.client_id,
                scopes=token.scope.split(),
                expires_at=int(token.expires.timestamp()),
                resource=resource,
                subject=str(token.user_id),
            )
        )
        return None
    challenge = {"scope": needed_scope}
    if token:
        challenge |= {"error": "insufficient_scope"}
    elif presented:
        challenge |= {"error": "invalid_token"}
    header = build_bearer_challenge(
        request, challenge, resource_metadata_url=metadata_url(request, scope["root_path"])
    )
    error = challenge.get("error", "unauthorized")
    return JSONResponse({"error": error}, 403 if token else 401, {"WWW-Authenticate": header})

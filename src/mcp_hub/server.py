"""MCP servers on this site: the official SDK's server, and how it is served.

Every request is complete in itself (stateless HTTP), so any worker of any replica can answer it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Protocol, cast

from asgiref.sync import sync_to_async
from asgiref.typing import ASGI3Application
from django.conf import settings
from django.utils.http import is_same_domain
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.request_state import RequestStateSecurity
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, INVALID_REQUEST, ErrorData, JSONRPCError
from sse_starlette.sse import AppStatus
from starlette.datastructures import Headers
from starlette.responses import Response

from mcp_hub.authentication import require_token

# Otherwise sse-starlette ends all streams when the worker closes its port. The worker itself ends
# those that take too long (serving.gunicorn_worker), and lets the other calls finish.
AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]


class Decorator(Protocol):
    """Registers a function and returns it."""

    def __call__[F: Callable[..., Any]](self, function: F, /) -> F: ...


class Server(MCPServer[Any]):
    """The SDK's server, for several workers, whose functions may use the database.

    Tools, resources and prompts may be synchronous or asynchronous. The SDK would run synchronous
    ones in threads that keep their database connections.
    """

    def __init__(self, name: str, **options: Any) -> None:
        # All replicas share the keys, so each of them can continue a call that another one began.
        keys = dict.fromkeys([settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS])
        shared: dict[str, Any] = {
            "request_state_security": RequestStateSecurity(keys=list(keys)),
            # The SDK's subscriptions reach only clients of the same process.
            "subscriptions": False,
        }
        super().__init__(name, **shared | options)
        self.middleware.insert(0, _ignore_refused_notifications)

    def tool(self, *args: Any, **options: Any) -> Decorator:
        return _as_asynchronous(super().tool(*args, **options))

    def resource(self, *args: Any, **options: Any) -> Decorator:
        return _as_asynchronous(super().resource(*args, **options))

    def prompt(self, *args: Any, **options: Any) -> Decorator:
        return _as_asynchronous(super().prompt(*args, **options))

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Any = None
    ) -> Any:
        """Answer a wrong name or missing arguments as the protocol asks: as invalid parameters.

        The SDK would log a traceback, and answer with an internal error.
        """
        expected = {prompt.name: prompt.arguments or [] for prompt in await self.list_prompts()}
        if name not in expected:
            raise MCPError(INVALID_PARAMS, f"Unknown prompt: {name}")
        required = {argument.name for argument in expected[name] if argument.required}
        if missing := required - (arguments or {}).keys():
            raise MCPError(INVALID_PARAMS, f"Missing arguments: {', '.join(sorted(missing))}")
        return await super().get_prompt(name, arguments, context)


async def _ignore_refused_notifications(
    ctx: ServerRequestContext[Any, Any], call_next: CallNext
) -> HandlerResult:
    """Ignore a notification that the SDK refuses; otherwise it logs a traceback for each.

    A notification has no answer.
    """
    try:
        return await call_next(ctx)
    except MCPError:
        if ctx.request_id is not None:
            raise
        return None


def _as_asynchronous(register: Decorator) -> Decorator:
    def decorate[F: Callable[..., Any]](function: F) -> F:
        if iscoroutinefunction(function):
            return register(function)
        run = sync_to_async(function)

        @wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await run(*args, **kwargs)

        register(call)
        return function

    return decorate


def serve(
    server: MCPServer[Any],
    authentication: Callable[[ASGI3Application], ASGI3Application] = require_token,
) -> ASGI3Application:
    """Return the ASGI application of a server, for settings.ASGI_MOUNTS.

    ``authentication`` wraps the application and refuses requests without a valid token.
    """
    application = server.streamable_http_app(
        streamable_http_path="/",
        stateless_http=True,
        # serving.mounts checks the host against ALLOWED_HOSTS, and _refusal checks the origin.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    protected = authentication(cast("ASGI3Application", application))

    async def checked(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (refusal := _refusal(scope)):
            await refusal(scope, receive, send)
        else:
            await protected(scope, receive, send)

    return checked


def _refusal(scope: Any) -> Response | None:
    """Return the answer to a request that no stateless server on this site accepts."""
    headers = Headers(scope=scope)
    origin, own = headers.get("origin"), f"{scope['scheme']}://{headers.get('host')}"
    if origin and not _is_own_origin(origin, own):
        return _error(403, "This origin may not call the server")
    if scope["method"] != "POST":
        # A stream for messages outside of calls would stay empty, and there is no session to end.
        return _error(405, "Method not allowed", Allow="POST")
    if "mcp-session-id" in headers:
        # The client then begins without a session, by the protocol.
        return _error(404, "Session not found")
    return None


def _is_own_origin(origin: str, own: str) -> bool:
    """Return whether pages of this origin may call the server, by Django's rules for forms."""
    scheme, _, host = origin.partition("://")
    for trusted in (own, *settings.CSRF_TRUSTED_ORIGINS):
        trusted_scheme, _, trusted_host = trusted.partition("://")
        if scheme == trusted_scheme and is_same_domain(host, trusted_host.removeprefix("*")):
            return True
    return False


def _error(status: int, message: str, **headers: str) -> Response:
    error = JSONRPCError(
        jsonrpc="2.0", id=None, error=ErrorData(code=INVALID_REQUEST, message=message)
    )
    return Response(
        error.model_dump_json(by_alias=True, exclude_unset=True),
        status,
        headers,
        media_type="application/json",
    )

"""Dynamic registration of clients (RFC 7591).

Not the library's own view, which registers confidential clients and gives each client a second,
everlasting token to change its registration.
"""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from oauth2_provider.models import Application
from oauth2_provider.settings import oauth2_settings

from accounts.throttle import count_attempt, network_limits
from oauth.validator import is_allowed_name, is_allowed_redirect

MAX_BODY = 16 * 1024  # bytes


class RegistrationError(Exception):
    """A registration is refused. ``code`` is RFC 7591's error code."""

    def __init__(self, description: str, code: str = "invalid_client_metadata") -> None:
        super().__init__(description)
        self.code = code


@csrf_exempt
@require_POST
def register(request: HttpRequest) -> JsonResponse:
    """Register a public client.

    Whatever the client asks for, it gets no secret, and the authorization code grant only. RFC 7591
    lets a server replace values, and the response tells the client.

    Raises TooManyAttemptsError after too many registrations from one network.
    """
    if not oauth2_settings.DCR_ENABLED:
        raise Http404
    count_attempt(network_limits("client registration", request))
    try:
        application = _application(request.body)
    except RegistrationError as error:
        answer = {"error": error.code, "error_description": str(error)}
        return JsonResponse(answer, status=400)
    application.save()
    registered = {
        "client_id": application.client_id,
        "client_id_issued_at": int(application.created.timestamp()),
        "client_name": application.name,
        "redirect_uris": application.redirect_uris.split(),
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
    return JsonResponse(registered, status=201, headers={"Cache-Control": "no-store"})


def _application(body: bytes) -> Application:
    """Return the application that a request describes, not saved yet."""
    if len(body) > MAX_BODY:
        raise RegistrationError(f"The request is longer than {MAX_BODY} bytes.")
    try:
        metadata: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise RegistrationError("The request is not JSON.") from None
    if not isinstance(metadata, dict):
        raise RegistrationError("The request is not a JSON object.")
    name = metadata.get("client_name", "")
    if not is_allowed_name(name):
        raise RegistrationError("client_name is not printable text.")
    grants = metadata.get("grant_types", ["authorization_code"])
    if not isinstance(grants, list) or "authorization_code" not in grants:
        raise RegistrationError("grant_types does not contain authorization_code.")
    uris = metadata.get("redirect_uris")
    if not isinstance(uris, list) or not uris or not all(isinstance(uri, str) for uri in uris):
        raise RegistrationError("redirect_uris is not a list of URIs.", "invalid_redirect_uri")
    if not all(uri.isprintable() and " " not in uri and is_allowed_redirect(uri) for uri in uris):
        raise RegistrationError(
            "A redirect URI is neither https nor http to localhost, 127.0.0.1 or [::1].",
            "invalid_redirect_uri",
        )
    application = Application(
        name=name,
        redirect_uris=" ".join(uris),
        client_type=Application.CLIENT_PUBLIC,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        registration_source=Application.RegistrationSource.DCR,
    )
    try:
        application.full_clean()
    except ValidationError as error:
        code = (
            "invalid_redirect_uri"
            if "redirect_uris" in error.message_dict
            else "invalid_client_metadata"
        )
        raise RegistrationError(" ".join(error.messages), code) from None
    return application

"""The protected resources, which are the site's MCP servers, and the tokens that they accept."""

from __future__ import annotations

import hashlib

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from oauth2_provider.models import AccessToken


def resource_urls(request: HttpRequest) -> list[str]:
    """Return the URLs of the MCP servers on the request's host: the audiences of its tokens.

    Raises DisallowedHost unless ALLOWED_HOSTS has the host.
    """
    return [request.build_absolute_uri(prefix) for prefix in settings.ASGI_MOUNTS]


def metadata_url(request: HttpRequest, prefix: str) -> str:
    """Return the URL of the metadata (RFC 9728) of the server with that path prefix."""
    return request.build_absolute_uri(f"/.well-known/oauth-protected-resource{prefix}")


def find_token(token: str, resource: str) -> AccessToken | None:
    """Return the row of an access token, or None if it is not valid for that resource.

    A token is not valid if it is unknown, expired, revoked, meant for another resource, or if its
    user is not active.
    """
    found = (
        AccessToken.objects.select_related("application", "user")
        .filter(
            token_checksum=hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest(),
            expires__gt=timezone.now(),
            user__is_active=True,
            application__isnull=False,
        )
        .first()
    )
    return found if found and resource in found.resource else None

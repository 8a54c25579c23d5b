"""Rules that django-oauth-toolkit's own validator does not have."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from oauth2_provider.oauth2_validators import OAuth2Validator

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_allowed_redirect(uri: str) -> bool:
    """Return whether a client may have this redirect URI: https, or http to its own computer."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    if not parts.hostname or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


def is_allowed_name(name: object) -> bool:
    """Return whether a client may have this name on the consent page.

    Characters that are not printable could make it look like the name of another client.
    """
    return isinstance(name, str) and name.isprintable()


class Validator(OAuth2Validator):  # type: ignore[misc]
    """Refuses http redirects to other computers, and users that are no longer active."""

    def validate_redirect_uri(
        self, client_id: str, redirect_uri: str, request: Any, *args: Any, **kwargs: Any
    ) -> bool:
        """Return whether the redirect URI is allowed and registered by the client."""
        return is_allowed_redirect(redirect_uri) and bool(
            super().validate_redirect_uri(client_id, redirect_uri, request, *args, **kwargs)
        )

    def validate_code(
        self, client_id: str, code: str, client: Any, request: Any, *args: Any, **kwargs: Any
    ) -> bool:
        """Return whether the code is valid and its user active."""
        valid = super().validate_code(client_id, code, client, request, *args, **kwargs)
        return bool(valid and request.user.is_active)

    def validate_refresh_token(
        self, refresh_token: str, client: Any, request: Any, *args: Any, **kwargs: Any
    ) -> bool:
        """Return whether the refresh token is valid and its user active."""
        valid = super().validate_refresh_token(refresh_token, client, request, *args, **kwargs)
        return bool(valid and request.user.is_active)

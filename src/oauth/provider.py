"""The settings of django-oauth-toolkit, which follow the best current practice (RFC 9700).

https://django-oauth-toolkit.readthedocs.io/en/latest/settings.html
"""

from __future__ import annotations

from typing import Any

from environment.contract import Environment

# The scopes that a client may ask for, with the text of the consent page.
SCOPES = {"mcp": "Use the tools of this site in your name"}


def provider_settings(env: Environment) -> dict[str, Any]:
    """Return OAUTH2_PROVIDER."""
    return {
        "SCOPES": SCOPES,
        "DEFAULT_SCOPES": ["mcp"],
        # Authorization codes and refresh tokens only: no implicit, password or device grant.
        "OAUTH2_SERVER_CLASS": "oauthlib.oauth2.WebApplicationServer",
        "OAUTH2_VALIDATOR_CLASS": "oauth.validator.Validator",
        "OAUTH2_RESPONSE_TYPES_SUPPORTED": ["code"],
        "OAUTH2_GRANT_TYPES_SUPPORTED": ["authorization_code", "refresh_token"],
        # All clients are public: a program on a user's computer cannot keep a secret.
        "OAUTH2_TOKEN_ENDPOINT_AUTH_METHODS_SUPPORTED": ["none"],
        "OAUTH2_PROTECTED_RESOURCE_NAME": "MCP Method Hub",
        "ACCESS_TOKEN_EXPIRE_SECONDS": 3600,
        # A client that is not used for thirty days has to ask again.
        "REFRESH_TOKEN_EXPIRE_SECONDS": 30 * 24 * 3600,
        "REFRESH_TOKEN_REUSE_PROTECTION": True,
        # Native clients listen on a free port of their computer. validator.py refuses http for
        # other hosts.
        "ALLOWED_REDIRECT_URI_SCHEMES": ["http", "https"],
        "ALLOW_LOCALHOST_LOOPBACK": True,
        "DCR_ENABLED": env.MCP_CLIENT_REGISTRATION,
        "CIMD_ENABLED": env.MCP_CLIENT_METADATA,
        "CIMD_METADATA_FETCHER": "oauth.client_metadata.MetadataFetcher",
        "CIMD_REGISTRATION_PERMISSION_CLASSES": ["oauth.client_metadata.ThrottlePermission"],
        "CIMD_FETCH_TIMEOUT_SECONDS": 3,
        # Each fetch holds a thread.
        "CIMD_MAX_CONCURRENT_FETCHES": 4,
        **dict.fromkeys(
            (
                "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT",
                "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS",
                "COMPLIANT_BCP_RFC9700_IMPLICIT_GRANT",
                "COMPLIANT_BCP_RFC9700_PASSWORD_GRANT",
                "COMPLIANT_BCP_RFC9700_PKCE_METHOD",
                # Stores only a hash of each token.
                "COMPLIANT_BCP_RFC9700_TOKEN_STORAGE",
            ),
            True,
        ),
    }

"""Django's settings of the database and of mail, from the contract's values."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote, urlsplit

import dj_database_url

from environment.contract import Environment
from environment.validators import MAIL_OPTIONS

# Seconds that one operation with the mail server may take.
MAIL_TIMEOUT = 5


def database_settings(env: Environment, url: str | None = None) -> dict[str, Any]:
    """Return one entry of DATABASES: server, user, database, and libpq's options.

    ``url`` replaces DATABASE_URL and DATABASE_SECRET.
    """
    options = tls_options(env.DATABASE_SSLMODE, env.DATABASE_SSLROOTCERT)
    if env.DATABASE_SECRET and not url:
        secret = json.loads(env.DATABASE_SECRET)
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": secret["dbname"],
            "USER": secret["username"],
            "PASSWORD": secret["password"],
            "HOST": secret["host"],
            "PORT": int(secret.get("port", 5432)),
            "OPTIONS": options,
        }
    parsed: dict[str, Any] = dict(dj_database_url.parse(url or env.DATABASE_URL or ""))
    return parsed | {"OPTIONS": parsed.get("OPTIONS", {}) | options}


def tls_options(sslmode: str | None, sslrootcert: str | None) -> dict[str, str]:
    """Return the TLS options that are set, by libpq's names."""
    options = {"sslmode": sslmode, "sslrootcert": sslrootcert}
    return {name: value for name, value in options.items() if value}


def mailer_settings(env: Environment) -> dict[str, Any]:
    """Return MAILERS; it is empty in the ecs target without EMAIL_URL."""
    if env.EMAIL_URL:
        parts = urlsplit(env.EMAIL_URL)
        options = {
            "host": parts.hostname,
            "port": parts.port,
            "username": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "timeout": MAIL_TIMEOUT,
        }
        return {"default": {"OPTIONS": options | MAIL_OPTIONS[parts.scheme]}}
    if env.DEBUG:
        return {"default": {"BACKEND": "backends.mail.EmailBackend"}}
    return {}

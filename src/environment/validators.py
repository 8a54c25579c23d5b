"""Validators of single values; they raise ValidationError, without the value in its message."""

from __future__ import annotations

import json
import os
import re
from email.utils import parseaddr
from typing import Any
from urllib.parse import SplitResult, urlsplit

import dj_database_url
from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.validators import validate_email
from environs import ValidationError

from environment.libpq import validate_options

# The limits of Django's own check security.W009.
INSECURE_KEY_PREFIX = "django-insecure-"
MIN_KEY_LENGTH = 50
MIN_KEY_CHARACTERS = 5

# Options of Django's mail backend by the scheme of EMAIL_URL. Their default ports are the
# backend's own: 25, 587 and 465.
MAIL_OPTIONS: dict[str, dict[str, Any]] = {
    "smtp": {},
    "smtp+starttls": {"use_tls": True},
    "smtps": {"use_ssl": True},
}


def validate_text(value: object) -> None:
    """Refuse NUL and bytes that are not UTF-8, because no server accepts them."""
    if not isinstance(value, str) or "\0" in value or not _is_unicode(value):
        raise ValidationError("Not text in UTF-8.")


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _split_url(value: str, *schemes: str) -> SplitResult:
    """Return the parts of a URL that has one of the schemes and a host."""
    try:
        parts = urlsplit(value)
        valid = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    # Unquoted / # ? or @ in a password move the rest of it into the path, query or fragment.
    if not valid or "@" in parts.path + parts.query or parts.fragment or parts.path.count("/") > 1:
        raise ValidationError(
            "Not a URL of this form. In a password, write / # ? @ % : as %2F %23 %3F %40 %25 %3A."
        )
    return parts


def validate_database_url(value: str) -> None:
    _split_url(value, "postgres", "postgresql")
    try:
        parsed = dj_database_url.parse(value)
    except (dj_database_url.ParseError, ValueError) as error:
        raise ValidationError("Not a URL that dj-database-url can read.") from error
    for key, part in (("NAME", "database"), ("USER", "user"), ("PASSWORD", "")):
        validate_text(parsed[key])  # type: ignore[literal-required]
        if part and not parsed[key]:  # type: ignore[literal-required]
            raise ValidationError(f"Names no {part}.")
    validate_options(parsed.get("OPTIONS", {}))


def validate_database_secret(value: str) -> None:
    """Validate the JSON that RDS keeps in Secrets Manager; further keys are allowed."""
    try:
        secret = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValidationError("Not JSON.") from error
    if not isinstance(secret, dict):
        raise ValidationError("Not a JSON object.")
    keys = ("username", "password", "host", "dbname")
    if missing := [key for key in keys if not secret.get(key)]:
        raise ValidationError(f"Lacks {', '.join(missing)}.")
    for key in keys:
        validate_text(secret[key])
    port = str(secret.get("port", 5432))
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValidationError("Its port is not a number from 1 to 65535.")


def validate_sslrootcert(value: str) -> None:
    validate_options({"sslrootcert": value})


def validate_redis_url(value: str) -> None:
    parts = _split_url(value, "redis", "rediss")
    if not re.fullmatch(r"/?[0-9]*", parts.path):
        raise ValidationError("The path is not a database number.")
    if not parts.query:
        return
    # Not above: migrate needs no Redis, and redis-py is a tenth of its imports.
    from redis import ConnectionPool

    try:
        connection = ConnectionPool.from_url(value).make_connection()
    except Exception as error:
        raise ValidationError("redis-py refuses the options after the ?.") from error
    # redis-py reads the file only when it connects.
    authorities = getattr(connection, "ca_certs", None)
    if authorities and not os.path.isfile(authorities):
        raise ValidationError("ssl_ca_certs is not the path of a file.")


def validate_email_url(value: str) -> None:
    parts = _split_url(value, *MAIL_OPTIONS)
    if parts.path.strip("/") or parts.query:
        raise ValidationError("Nothing may follow the host and the port.")
    if parts.scheme == "smtp" and (parts.username or parts.password):
        raise ValidationError(
            "smtp:// sends the password unencrypted; use smtps:// or smtp+starttls://."
        )


def validate_sender(value: str) -> None:
    """Accept an address with or without a name, as a From header holds it."""
    if not value.isprintable():
        raise ValidationError("Contains a character that no header may hold.")
    _name, address = parseaddr(value)
    try:
        validate_email(address)
    except DjangoValidationError as error:
        raise ValidationError("Not an e-mail address.") from error


def validate_host(value: str) -> None:
    """Accept an entry of ALLOWED_HOSTS that can match a request's Host header."""
    if not re.fullmatch(r"\*|[a-z0-9.-]+|\[[a-f0-9:.]+\]", value, re.IGNORECASE):
        raise ValidationError("Not a host name alone: no scheme, no port; .example.com for all.")
    if value.endswith("."):
        raise ValidationError("Ends with a dot, which Django removes from the request's host.")


def validate_origin(value: str) -> None:
    """Accept an origin that Django's check 4_0.E001 accepts and an Origin header can match."""
    if not re.fullmatch(r"https?://([a-z0-9.*-]+|\[[a-f0-9:.]+\])(:[0-9]+)?", value, re.IGNORECASE):
        raise ValidationError("Not an origin: scheme and host, no path.")


def validate_secret_key(value: str) -> None:
    """Refuse keys that Django's check security.W009 warns about."""
    if len(value) < MIN_KEY_LENGTH or len(set(value)) < MIN_KEY_CHARACTERS:
        raise ValidationError(
            f"Shorter than {MIN_KEY_LENGTH} characters, or nearly all the same; "
            "`openssl rand -base64 48` makes one."
        )

"""Why a TLS connection to PostgreSQL or Redis failed, in words that tell the causes apart.

libpq reports an expired certificate and an unknown authority with the same words, and redis-py
reports a server without TLS as a timeout. No text contains a secret.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from typing import Any

# The message that asks PostgreSQL for TLS; it answers with one byte, S or N.
# https://www.postgresql.org/docs/18/protocol-message-formats.html
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
# Results of a verification: https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
EXPIRED = 10
UNKNOWN_AUTHORITY = (7, 18, 19, 20, 21)
OTHER_HOST = (62, 64)
OTHER_HOST_REMEDY = "Connect to a host that the certificate names, or replace the certificate."


def postgres_problem(error: Exception, params: Mapping[str, Any]) -> str:
    """Return why a connection with these parameters of libpq failed."""
    message = str(error).strip()
    if "does not match host name" in message:
        return f"{message}. {OTHER_HOST_REMEDY}"
    if "certificate verify failed" not in message:
        return message
    refusal = _verify_postgres_certificate(params)
    return _certificate_problem("PostgreSQL", refusal) if refusal else message


def redis_problem(error: Exception) -> str:
    """Return why redis-py could not connect or got no reply."""
    # Not above: migrate does without redis-py.
    from redis.exceptions import AuthenticationError

    if isinstance(error, AuthenticationError):
        return "Redis refuses the login of REDIS_URL. Set the server's current user and password."
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate_problem("Redis", cause)
        # Without TLS, Redis answers with an error, or waits for the end of the line.
        no_tls = getattr(cause, "reason", "") == "WRONG_VERSION_NUMBER"
        if no_tls or "handshake operation timed out" in str(cause):
            return (
                "Redis did not answer in TLS. If the server has no TLS, turn it on or use redis://."
            )
    return str(error)


def _certificate_problem(server: str, refusal: ssl.SSLCertVerificationError) -> str:
    if refusal.verify_code == EXPIRED:
        return f"{server}'s certificate has expired. Renew it on the server."
    if refusal.verify_code in UNKNOWN_AUTHORITY:
        return (
            f"{server}'s certificate is signed by an unknown authority. Add the authority to the "
            "root certificates, or replace the certificate."
        )
    if refusal.verify_code in OTHER_HOST:
        return f"{server}'s certificate is for another host. {OTHER_HOST_REMEDY}"
    return f"{server}'s certificate is refused: {refusal.verify_message}."


def _verify_postgres_certificate(params: Mapping[str, Any]) -> ssl.SSLCertVerificationError | None:
    """Repeat libpq's handshake, and return OpenSSL's error, which libpq does not pass on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # libpq checks the host after the certificate, with a message of its own.
    context.check_hostname = False
    address = (params.get("host") or "localhost", int(params.get("port") or 5432))
    try:
        if params.get("sslrootcert") == "system":
            context.set_default_verify_paths()
        else:
            context.load_verify_locations(params.get("sslrootcert"))
        timeout = float(params.get("connect_timeout") or 2)
        with socket.create_connection(address, timeout) as connection:
            connection.sendall(SSL_REQUEST)
            if connection.recv(1) == b"S":
                context.wrap_socket(connection).close()
    except ssl.SSLCertVerificationError as refusal:
        return refusal
    except (OSError, TypeError, ValueError):
        # The server is gone meanwhile, or the parameters name several.
        return None
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

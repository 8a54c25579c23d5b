"""Clients that identify themselves with the URL of their metadata document.

https://datatracker.ietf.org/doc/draft-ietf-oauth-client-id-metadata-document/
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from concurrent.futures import Future
from http.client import HTTPConnection, HTTPException
from typing import Any

from django.db import connection
from django.http import HttpRequest
from oauth2_provider.cimd import (
    CIMDError,
    SafeMetadataFetcher,
    _resolve_and_validate,
    _validate_client_id_url,
)
from oauth2_provider.settings import oauth2_settings

from accounts.throttle import TooManyAttemptsError, count_attempt, network_limits
from oauth.validator import is_allowed_name


class ThrottlePermission:
    """Limits how many documents one network can make the site fetch."""

    def has_permission(self, request: Any, client_id: str) -> bool:
        """Count a fetch; return False after too many. ``request`` is oauthlib's."""
        django_request = HttpRequest()
        django_request.META = request.headers
        try:
            count_attempt(network_limits("client metadata", django_request))
        except TooManyAttemptsError:
            return False
        return True


class MetadataFetcher(SafeMetadataFetcher):  # type: ignore[misc]
    """Fetches a document within a time limit, from public addresses only.

    The library's own fetcher limits each read, so that a server which sends one byte now and then
    holds the thread for hours. It also keeps the request's database connection meanwhile.
    """

    def fetch(self, client_id: str) -> tuple[dict[str, Any], int]:
        """Return the document and the seconds for which it may be cached.

        Raises CIMDError if there is none at the URL, or if the URL must not be fetched.
        """
        deadline = time.monotonic() + oauth2_settings.CIMD_FETCH_TIMEOUT_SECONDS
        url = _validate_client_id_url(client_id)
        if not connection.in_atomic_block:
            connection.close()
        try:
            addresses = _resolve(url.hostname, url.port or 443, deadline)
            with (
                _connect(addresses, url.port or 443, deadline) as tcp,
                ssl.create_default_context().wrap_socket(
                    tcp, server_hostname=url.hostname, do_handshake_on_connect=False
                ) as tls,
            ):
                watchdog = threading.Timer(
                    _seconds_until(deadline), socket.socket.shutdown, (tls, socket.SHUT_RDWR)
                )
                watchdog.daemon = True
                watchdog.start()
                try:
                    tls.do_handshake()
                    http = HTTPConnection(url.netloc)
                    http.sock = tls
                    path = f"{url.path}?{url.query}" if url.query else url.path
                    http.request("GET", path, headers={"Accept": "application/json"})
                    document, max_age = self._read_document(http.getresponse())
                finally:
                    watchdog.cancel()
        except (OSError, HTTPException) as error:
            raise CIMDError(f"could not fetch client_id document: {error}") from error
        if not is_allowed_name(document.get("client_name", "")):
            raise CIMDError("client_name is not printable text")
        return document, max_age


def _resolve(host: str, port: int, deadline: float) -> list[str]:
    """Return the addresses of a host, which are all public.

    The system's resolver has no time limit, so it runs in a thread that is abandoned at the
    deadline.
    """
    addresses: Future[list[str]] = Future()

    def resolve() -> None:
        try:
            addresses.set_result(_resolve_and_validate(host, port))
        except Exception as error:  # noqa: BLE001 - the caller gets every exception
            addresses.set_exception(error)

    threading.Thread(target=resolve, name="resolver", daemon=True).start()
    return addresses.result(_seconds_until(deadline))


def _connect(addresses: list[str], port: int, deadline: float) -> socket.socket:
    """Connect to the first address that accepts."""
    errors = []
    for address in addresses:
        try:
            return socket.create_connection((address, port), _seconds_until(deadline))
        except OSError as error:
            errors.append(error)
    raise errors[-1]


def _seconds_until(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the time limit has passed")
    return seconds

"""Clients that identify themselves with the URL of their metadata document."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from oauth2_provider import cimd
from oauth2_provider.models import Application

from oauth import client_metadata
from tests.oauth.certificates import write_certificate
from tests.oauth.conftest import AUTHORIZE, CALLBACK, allow, authorization_request, exchange

pytestmark = pytest.mark.django_db

type Answer = Callable[[socket.socket, str], None]


@pytest.fixture
def document_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[Answer], str]]:
    """Start an HTTPS server on this machine that counts as public, and return its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"https://localhost:{listener.getsockname()[1]}/client.json"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = tmp_path / "localhost.pem"
    write_certificate(certificate)
    context.load_cert_chain(certificate)
    monkeypatch.setattr(
        client_metadata, "_resolve_and_validate", lambda _host, _port: ["127.0.0.1"]
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def start(answer: Answer) -> str:
        def serve() -> None:
            while True:
                try:
                    tls = context.wrap_socket(listener.accept()[0], server_side=True)
                except OSError:
                    return
                with tls, suppress(OSError):
                    request = tls.recv(10_000).split(b"\r\n")
                    if request[0] == b"GET /client.json HTTP/1.1":
                        assert b"Accept: application/json" in request
                        answer(tls, url)

        threading.Thread(target=serve, daemon=True).start()
        return url

    yield start
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def response(status: str, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, *headers, "", ""]).encode() + body


def send_document(tls: socket.socket, url: str, **changes: Any) -> None:
    document = {
        "client_id": url,
        "client_name": "Editor",
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "none",
    } | changes
    present = {name: value for name, value in document.items() if value is not None}
    tls.sendall(response("200 OK", json.dumps(present).encode()))


@pytest.mark.parametrize("name", ["Editor", None])
def test_client_connects_without_registration(
    browser: Client, document_server: Callable[[Answer], str], name: str | None
) -> None:
    client_id = document_server(lambda tls, url: send_document(tls, url, client_name=name))
    page = browser.get(AUTHORIZE, authorization_request(client_id=client_id))
    assert "comes from <strong>localhost</strong>" in page.text
    code = allow(browser, client_id=client_id)["code"]
    assert exchange(code, client_id=client_id).status_code == 200
    assert Application.objects.get().client_type == "public"


def drip_body(tls: socket.socket, _url: str) -> None:
    tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n")
    while True:
        tls.sendall(b" ")
        time.sleep(0.1)


def drip_headers(tls: socket.socket, _url: str) -> None:
    tls.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        tls.sendall(b"A")
        time.sleep(0.1)


@pytest.mark.parametrize("answer", [drip_body, drip_headers])
def test_slow_document_is_given_up_after_the_time_limit(
    browser: Client,
    document_server: Callable[[Answer], str],
    oauth_options: Any,
    answer: Answer,
) -> None:
    oauth_options(CIMD_FETCH_TIMEOUT_SECONDS=1)
    start = time.monotonic()
    page = browser.get(AUTHORIZE, authorization_request(client_id=document_server(answer)))
    assert page.status_code == 400
    assert time.monotonic() - start < 3


def test_slow_name_server_is_given_up_after_the_time_limit(
    browser: Client, monkeypatch: pytest.MonkeyPatch, oauth_options: Any
) -> None:
    end = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_options: end.wait(10) and [])
    oauth_options(CIMD_FETCH_TIMEOUT_SECONDS=1)
    start = time.monotonic()
    query = authorization_request(client_id="https://slow.example/client.json")
    page = browser.get(AUTHORIZE, query)
    # The abandoned thread does not keep a process from exiting.
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "resolver")
    end.set()
    assert page.status_code == 400
    assert "The connection was not made" in page.text
    assert time.monotonic() - start < 3


def test_addresses_share_the_time_limit(
    browser: Client, monkeypatch: pytest.MonkeyPatch, oauth_options: Any
) -> None:
    tried: list[tuple[str, int]] = []

    def never_connect(address: tuple[str, int], timeout: float) -> None:
        tried.append(address)
        time.sleep(timeout)
        raise TimeoutError

    names = [(0, 0, 0, "", (address, 443)) for address in ("8.8.8.8", "8.8.4.4")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_options: names)
    monkeypatch.setattr("oauth.client_metadata.socket.create_connection", never_connect)
    oauth_options(CIMD_FETCH_TIMEOUT_SECONDS=1)
    query = authorization_request(client_id="https://slow.example/client.json")
    assert browser.get(AUTHORIZE, query).status_code == 400
    assert tried == [("8.8.8.8", 443)]


@pytest.mark.parametrize(
    "answer",
    [
        lambda tls, _: tls.sendall(response("302 Found", b"", "Location: https://127.0.0.1/")),
        lambda tls, _: tls.sendall(response("200 OK", b"x" * 100_000)),
        lambda tls, _: tls.sendall(response("200 OK", b"not JSON")),
        lambda tls, _: tls.sendall(b"not HTTP\r\n\r\n"),
        lambda tls, _: send_document(tls, "https://other.example/client.json"),
        lambda tls, url: send_document(tls, url, redirect_uris=["javascript:alert(1)"]),
        lambda tls, url: send_document(tls, url, client_name="a\0b"),
        lambda tls, url: send_document(tls, url, client_secret="x"),
    ],
    ids=["redirect", "size", "text", "garbage", "other id", "scheme", "null byte", "secret"],
)
def test_unusable_document_shows_an_error_page(
    browser: Client, document_server: Callable[[Answer], str], answer: Answer
) -> None:
    page = browser.get(AUTHORIZE, authorization_request(client_id=document_server(answer)))
    assert page.status_code == 400
    assert "The connection was not made" in page.text
    assert not Application.objects.exists()


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost/client.json",
        "https://127.0.0.1/client.json",
        "https://[::1]/client.json",
        "https://[::ffff:127.0.0.1]/client.json",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/client.json",
        "https://0x7f000001/client.json",
        "http://localhost/client.json",
        "https://user@localhost/client.json",
        "https://localhost:99999/client.json",
        "https://localhost/../client.json",
    ],
)
def test_private_address_is_never_connected(
    browser: Client, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    def connect(*_args: Any, **_options: Any) -> None:
        pytest.fail(f"connected for {url}")

    monkeypatch.setattr("socket.create_connection", connect)
    page = browser.get(AUTHORIZE, authorization_request(client_id=url))
    assert page.status_code == 400


@pytest.mark.django_db(transaction=True)
def test_fetch_holds_no_database_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    def connect(*_args: Any) -> None:
        held.append(connection.connection)
        raise OSError

    monkeypatch.setattr(
        client_metadata, "_resolve_and_validate", lambda _host, _port: ["127.0.0.1"]
    )
    monkeypatch.setattr("socket.create_connection", connect)
    assert not Application.objects.exists()
    with pytest.raises(cimd.CIMDError):
        client_metadata.MetadataFetcher().fetch("https://localhost/client.json")
    assert held == [None]


def test_network_causes_only_few_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token endpoint accepts requests of strangers."""
    fetched: list[str] = []

    def fetch(_self: Any, url: str) -> None:
        fetched.append(url)
        raise cimd.CIMDError

    monkeypatch.setattr(client_metadata.MetadataFetcher, "fetch", fetch)
    for number in range(17):
        exchange("code", client_id=f"https://{number}.example/client.json")
    # A request that fails looks its client up twice.
    assert len(fetched) == 15


def test_documents_can_be_turned_off(
    browser: Client, oauth_options: Any, document_server: Callable[[Answer], str]
) -> None:
    client_id = document_server(send_document)
    oauth_options(CIMD_ENABLED=False)
    page = browser.get(AUTHORIZE, authorization_request(client_id=client_id))
    assert page.status_code == 400
    metadata = browser.get("/.well-known/oauth-authorization-server").json()
    assert metadata["client_id_metadata_document_supported"] is False

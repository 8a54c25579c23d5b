"""A running server: the headers, cookies, refusals and log lines that the settings promise."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.contrib.auth.hashers import make_password
from django.db import connection

from accounts.models import User
from tests import forked
from tests.ports import free_ports

pytestmark = [pytest.mark.waits, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).resolve().parents[2]
EMAIL, PASSWORD = "user@example.com", "correct horse battery staple"


class Response:
    """A response whose body has been read."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.text = body.decode()
        self.cookies: SimpleCookie = SimpleCookie()
        for name, value in headers:
            if name.lower() == "set-cookie":
                self.cookies.load(value)


class Server:
    """gunicorn with this project's configuration, behind a load balancer that ends TLS."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.output = folder / "output"
        (self.port,) = free_ports(1)
        self.environment = (
            os.environ
            | {
                "PYTHONPATH": str(ROOT / "src"),
                "TLS_IN_FRONT": "true",
                "TRUSTED_PROXY_COUNT": "1",
                "LOG_FORMAT": "json",
                "WORKERS": "1",
                "DRAIN_DELAY": "0",
                "DATABASE_URL": database_url(),
            }
            | environment
        )

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Start the server, and stop it at the end."""
        process = forked.start(
            *("-m", "gunicorn", "--config", str(ROOT / "docker/gunicorn.conf.py")),
            *("--bind", f"127.0.0.1:{self.port}", "config.asgi:application"),
            env=self.environment,
            cwd=ROOT / "src",
            stdout=self.output,
            stderr=self.output,
        )
        try:
            end = time.monotonic() + 30
            while not self._answers():
                assert time.monotonic() < end, self.output.read_text()
                time.sleep(0.05)
            yield self
            assert process.pid
            os.kill(process.pid, signal.SIGTERM)
            process.join(20)
            assert process.exitcode == 0, self.output.read_text()
        finally:
            forked.kill(process)

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/livez").status == 200
        except (OSError, HTTPException):
            return False

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request as a load balancer does for a client that uses HTTPS."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.putrequest(method, path, skip_host=True)
            body = urlencode(form).encode() if form else b""
            fields = {"Host": "localhost", "X-Forwarded-Proto": "https"}
            if form:
                fields["Content-Type"] = "application/x-www-form-urlencoded"
                fields["Content-Length"] = str(len(body))
            for name, value in (fields | dict(headers or {})).items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return Response(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def records(self) -> list[dict[str, Any]]:
        """Return the log's records."""
        return [json.loads(line) for line in self.output.read_text().splitlines()]


def database_url(**options: str) -> str:
    """Return the URL of the test database."""
    params = connection.settings_dict
    user, password = quote(params["USER"]), quote(params["PASSWORD"])
    query = f"?{urlencode(options)}" if options else ""
    return f"postgres://{user}:{password}@{params['HOST']}:{params['PORT']}/{params['NAME']}{query}"


def sign_in_form(server: Server, **fields: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the headers and the fields of a valid sign-in form, as a browser sends them."""
    token = server.request("GET", "/accounts/login/").cookies["csrftoken"].value
    headers = {"Cookie": f"csrftoken={token}", "Origin": "https://localhost"}
    form = {"username": EMAIL, "password": PASSWORD, "csrfmiddlewaretoken": token}
    return headers, form | fields


def test_running_server_protects_pages_forms_and_sessions(tmp_path: Path) -> None:
    User.objects.create(email=EMAIL, password=make_password(PASSWORD, hasher="argon2"))
    path = "/accounts/login/"
    with Server(tmp_path, CSRF_TRUSTED_ORIGINS="https://partner.example").running() as server:
        plain = server.request("GET", path, {"X-Forwarded-Proto": "http"})
        assert (plain.status, plain.headers["location"]) == (301, f"https://localhost{path}")
        assert server.request("GET", path, {"Host": "evil.example"}).status == 400

        page = server.request("GET", path)
        assert page.status == 200
        assert page.headers["strict-transport-security"].startswith("max-age=3600")
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["cross-origin-opener-policy"] == "same-origin"
        policy = page.headers["content-security-policy"].split("; ")
        assert sorted(policy) == [
            "base-uri 'none'",
            "default-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "object-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
        ]
        assert page.cookies["csrftoken"]["secure"]
        assert page.cookies["csrftoken"]["samesite"] == "Lax"

        headers, form = sign_in_form(server)
        without_token = {name: form[name] for name in ("username", "password")}
        assert server.request("POST", path, headers, without_token).status == 403
        foreign = headers | {"Origin": "https://evil.example"}
        assert server.request("POST", path, foreign, form).status == 403
        partner = headers | {"Origin": "https://partner.example"}
        assert server.request("POST", path, partner, form).status == 302

        session = server.request("POST", path, headers, form).cookies["sessionid"]
        assert session["secure"]
        assert session["httponly"]
        assert session["samesite"] == "Lax"

        headers["Cookie"] += f"; sessionid={session.value}"
        new = {"old_password": PASSWORD, "new_password1": "x7Kq-2z", "new_password2": "x7Kq-2z"}
        refused = server.request("POST", "/accounts/password_change/", headers, form | new)
        assert refused.status == 200
        assert "This password is too short" in refused.text


def test_running_server_logs_one_line_per_request(tmp_path: Path) -> None:
    websocket = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    with Server(tmp_path).running() as server:
        for _ in range(3):
            assert server.request("GET", "/socket?token=unseen", websocket).status == 404
        too_large = server.request("POST", "/upload", form={"file": "0" * 11_000_000})
        assert too_large.status == 413
        assert "Please send a smaller file" in too_large.text
        assert server.request("GET", "/late", {"X-Amzn-Trace-Id": "Root=1-2-3"}).status == 404
    records = server.records()
    # A request is logged after its response was sent, so the next one may be logged first.
    access = sorted((row["path"], row["status"]) for row in records if row["logger"] == "access")
    assert access == [("/late", 404), *[("/socket", 404)] * 3, ("/upload", 413)]
    by_uvicorn = [row for row in records if row["logger"].startswith("uvicorn")]
    assert {row["level"] for row in by_uvicorn} == {"info"}
    assert all(re.fullmatch(r"20..-..-..T..:..:..\.\d{6}Z", row["timestamp"]) for row in records)
    late = [row["request_id"] for row in records if row.get("path") == "/late"]
    assert set(late) == {"Root=1-2-3"}
    assert "unseen" not in server.output.read_text()


def test_running_server_bounds_its_wait_for_redis_and_passes_options_to_postgres(
    tmp_path: Path,
) -> None:
    User.objects.create(email=EMAIL, password=make_password(PASSWORD, hasher="argon2"))
    options = "-c default_transaction_read_only=on"
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as silent,
        # Fills the queue: the kernel answers no further connection attempt.
        socket.create_connection(silent.getsockname()),
    ):
        redis = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        server = Server(tmp_path, REDIS_URL=redis, DATABASE_URL=database_url(options=options))
        with server.running():
            start = time.monotonic()
            cookie = {"Cookie": f"sessionid={'0' * 32}"}
            assert server.request("GET", "/accounts/login/", cookie).status == 200
            assert time.monotonic() - start < 3
            sign_in = server.request("POST", "/accounts/login/", *sign_in_form(server))
            assert sign_in.status >= 500
    assert "read-only transaction" in server.output.read_text()

"""Mail: sent to the server of EMAIL_URL; without it, printed in dev and refused in ecs."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from django.test import override_settings

from environment.services import mailer_settings
from tests.environment.sound import environment


class SMTPHandler(socketserver.StreamRequestHandler):
    """The subset of SMTP that is needed to receive one message."""

    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        for line in self.rfile:
            verb = line.split()[0].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                for part in iter(self.rfile.readline, b".\r\n"):
                    self.server.received.append(part)  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")


@contextlib.contextmanager
def server() -> Iterator[tuple[int, list[bytes]]]:
    """Run a mail server; yield its port and the lines of the messages that it receives."""
    with socketserver.TCPServer(("127.0.0.1", 0), SMTPHandler) as listening:
        received: list[bytes] = []
        listening.received = received  # type: ignore[attr-defined]
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield listening.server_address[1], received
        listening.shutdown()


def send(mailers: dict[str, Any], text: str, sender: str | None = None) -> None:
    """Send a mail as a view does."""
    with override_settings(MAILERS=mailers):
        mail.send_mail("Réset", text, sender, ["ada@example.com"])


def test_mail_server_receives_message() -> None:
    with server() as (port, received):
        there = environment(EMAIL_URL=f"smtp://127.0.0.1:{port}", DEFAULT_FROM_EMAIL="a@b.example")
        send(mailer_settings(there), "Hello.\n", there.DEFAULT_FROM_EMAIL)
    assert b"From: a@b.example\r\n" in received
    assert received[-1] == b"Hello.\r\n"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("smtp://mail", {"port": 25, "username": "", "password": ""}),
        ("smtps://a:p%2Fw@mail", {"port": 465, "username": "a", "password": "p/w"}),
        ("smtp+starttls://a%40b:p@mail", {"port": 587, "username": "a@b", "use_tls": True}),
        ("smtps://a:p@mail:2465", {"port": 2465, "use_ssl": True, "timeout": 5}),
    ],
)
def test_scheme_of_email_url_selects_tls_and_port(url: str, options: dict[str, Any]) -> None:
    there = environment(EMAIL_URL=url, DEFAULT_FROM_EMAIL="Method Hub <noreply@example.com>")
    with override_settings(MAILERS=mailer_settings(there)):
        assert vars(mail.mailers.default).items() >= (options | {"host": "mail"}).items()


def test_dev_prints_mail_with_unbroken_links(capsys: pytest.CaptureFixture[str]) -> None:
    link = f"http://localhost:8000/{'a' * 200}/"
    send(mailer_settings(environment(TARGET="dev", DEBUG="true")), f"It’s {link}\n")
    assert f"It’s {link}\n" in capsys.readouterr().out


def test_dev_prints_mail_in_another_encoding(capsys: pytest.CaptureFixture[str]) -> None:
    with override_settings(MAILERS=mailer_settings(environment(TARGET="dev", DEBUG="true"))):
        message = mail.EmailMessage("Subject", "R\xe9set\n", None, ["ada@example.com"])
        message.encoding = "iso-8859-1"
        message.send()
    assert "Subject: Subject" in capsys.readouterr().out


def test_ecs_refuses_mail_without_email_url() -> None:
    with pytest.raises(mail.MailerDoesNotExist):
        send(mailer_settings(environment()), "Hello.\n")

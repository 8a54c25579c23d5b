"""Password resets while the mail server is slow."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from scripts.stack.engine import ROOT, Answer, Browser, Container, Stack, wait_for
from tests.stack.figures import figure

DELAY = 3  # seconds until the mail server greets a client
KNOWN, UNKNOWN = ([f"{kind}{number}@example.com" for number in range(12)] for kind in "ku")


class Site(NamedTuple):
    """A web container with a pool of two connections, its worker, and the worker's mail server."""

    web: Container
    worker: Container
    smtp: Container


@pytest.fixture
def site(stack: Stack) -> Iterator[Site]:
    """A site behind TLS with a slow mail server."""
    # The worker of the stack would take the tasks, and has no mail server.
    other_worker = stack.container("worker")
    other_worker.docker("stop")
    smtp = stack.start(
        *("python", "/tests/slow_smtp.py", str(DELAY)),
        service="worker",
        options=("--volume", f"{ROOT}/tests/stack/apps:/tests:ro"),
    )
    env = {
        "EMAIL_URL": f"smtp://{smtp.address}:2525",
        "DEFAULT_FROM_EMAIL": "noreply@example.com",
        "TLS_IN_FRONT": "true",
        "TRUSTED_PROXY_COUNT": "1",
        "DATABASE_POOL_SIZE": "2",
        "WORKERS": "1",
    }
    web = stack.start(env=env)
    worker = stack.start(service="worker", env=env)
    stack.add_users("correct horse", *KNOWN)
    yield Site(web.wait_ready(), worker.wait_healthy(), smtp)
    stack.end_lockouts()
    for container in (worker, web, smtp):
        container.remove()
    other_worker.docker("start")


def https_browser(web: Container) -> Browser:
    """Return a client that a load balancer forwards from HTTPS."""
    origin = web.url.replace("http://", "https://")
    headers = {"Origin": origin, "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.1"}
    return Browser(web.url, headers)


def request_reset(web: Container, email: str) -> Answer:
    browser = https_browser(web)
    browser.get("/accounts/password_reset/")
    return browser.post("/accounts/password_reset/", {"email": email})


def test_slow_mail_server_delays_no_page_and_reveals_no_account(stack: Stack, site: Site) -> None:
    web, worker, smtp = site
    admin = https_browser(web)
    password = stack.canaries["DJANGO_SUPERUSER_PASSWORD"]
    assert admin.login("admin@example.com", password).status == 302
    with ThreadPoolExecutor(4) as threads:
        emails = [email for pair in zip(KNOWN, UNKNOWN, strict=True) for email in pair]
        resets = threads.map(lambda email: request_reset(web, email), emails)
        pages = [admin.get("/admin/") for _ in range(24)]
        answers = dict(zip(emails, resets, strict=True))
    assert [page.status for page in pages] == [200] * len(pages)
    assert max(page.seconds for page in pages) < DELAY
    assert {answer.status for answer in answers.values()} == {302}
    known, unknown = (
        statistics.median(answers[email].seconds for email in group) for group in (KNOWN, UNKNOWN)
    )
    assert max(known, unknown) < DELAY / 2
    assert abs(known - unknown) < 0.1
    figure(
        "password reset",
        f"24 posts, mail server {DELAY} s slow, a pool of 2",
        f"known {known * 1000:.0f} ms, unknown {unknown * 1000:.0f} ms; "
        f"slowest page {max(page.seconds for page in pages):.2f} s",
    )
    # The worker sends every mail, with links to the site's HTTPS address.
    wait_for(lambda: len(smtp.records()) >= len(KNOWN), 15 * DELAY)
    assert {mail["to"] for mail in smtp.records()} == set(KNOWN)
    assert {mail["site"] for mail in smtp.records()} == {web.url.replace("http://", "https://")}

    def finished() -> set[str]:
        events = [row for row in worker.records() if row["message"] == "task_succeeded"]
        return {row["request_id"] for row in events}

    wait_for(lambda: len(finished()) >= len(emails), DELAY)
    assert finished() == {answer.headers["x-request-id"] for answer in answers.values()}

"""The ecs target behind a load balancer that terminates TLS (TLS_IN_FRONT)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.stack.engine import Browser, Container, Stack


@pytest.fixture(scope="module")
def behind_tls(stack: Stack) -> Iterator[Container]:
    """A container with TLS_IN_FRONT and one trusted proxy, like a task behind a load balancer."""
    container = stack.start(env={"TLS_IN_FRONT": "true", "TRUSTED_PROXY_COUNT": "1"})
    yield container.wait_ready()
    container.remove()


def test_http_is_redirected_to_https_except_probes(behind_tls: Container) -> None:
    plain = behind_tls.browser()
    response = plain.get("/admin/login/")
    assert response.status == 301
    assert response.headers["location"].startswith("https://")
    # The balancer probes over plain HTTP, with the task's address as Host.
    for path in ("/livez", "/readyz"):
        assert plain.get(path, Host="10.0.3.7:8000").status == 200
    assert behind_tls.browser(X_Forwarded_Proto="https").get("/", Host="10.0.3.7").status == 400


def test_sign_in_over_https_gets_secure_cookies_and_hsts(
    behind_tls: Container, stack: Stack
) -> None:
    origin = behind_tls.url.replace("http://", "https://")
    browser = Browser(behind_tls.url, {"X-Forwarded-Proto": "https", "Origin": origin})
    browser.headers["Referer"] = f"{origin}/admin/login/"
    response = browser.login("admin@example.com", stack.canaries["DJANGO_SUPERUSER_PASSWORD"])
    assert response.status == 302
    assert "Secure" in response.headers["set-cookie"]
    assert "max-age=" in response.headers["strict-transport-security"]
    assert browser.get("/admin/").status == 200

    foreign = Browser(
        behind_tls.url, {"X-Forwarded-Proto": "https", "Origin": "https://evil.example"}
    )
    assert foreign.login("admin@example.com", "any").status == 403


def test_client_and_request_id_come_from_the_balancer(behind_tls: Container) -> None:
    browser = behind_tls.browser(X_Forwarded_Proto="https")
    trace = "Root=1-67891233-abcdef012345678912345678"
    response = browser.get(
        "/who",
        X_Forwarded_For="1.1.1.1, 203.0.113.9:4711",
        X_Amzn_Trace_Id=trace,
        X_Request_ID="forged",
    )
    assert response.headers["x-request-id"] == trace
    record = next(row for row in behind_tls.records() if row.get("path") == "/who")
    assert record["client"] == "203.0.113.9"
    assert record["request_id"] == trace

"""What people get while a backing service is away, and how soon all is well again after it.

Each fault is made on the running stack and mended; web is never restarted.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

import pytest

from scripts.stack.engine import PROJECT, Answer, Browser, Container, Stack, run, wait_for
from tests.stack.figures import figure

# The promises, in seconds.
ANSWERED_WITHIN = 5.0
RECOVERED_WITHIN = 5.0
# Readiness looks again every 5 s, and waits 2 s for an answer.
NOTICED_WITHIN = 8.0
NETWORK = f"{PROJECT}_default"
# More than the pools of two workers let wait (backends/database.py), so that some find them full.
CROWD = 100


def started(service: Container) -> None:
    """Start a service again and wait until it answers."""
    service.docker("start")
    if "postgres" in service.inspect()["Name"]:
        question = ["pg_isready", "--host", "127.0.0.1"]
        answer = "accepting connections"
    else:
        question, answer = ["redis-cli", "ping"], "PONG"
    wait_for(lambda: answer in service.exec(*question, check=False), 30)


def disconnect(service: Container) -> None:
    """Cut the service's network."""
    run("docker", "network", "disconnect", NETWORK, service.id)


def connect(service: Container) -> None:
    """Mend the service's network."""
    name = "postgres" if "postgres" in service.inspect()["Name"] else "redis"
    run("docker", "network", "connect", "--alias", name, NETWORK, service.id)


@dataclasses.dataclass(frozen=True)
class Fault:
    """How a service is broken and mended; which answers pages may give meanwhile."""

    service: str
    name: str
    breaks: Callable[[Container], object]
    mends: Callable[[Container], object]


FAULTS = [
    Fault(service, name, breaks, mends)
    for service in ("postgres", "redis")
    for name, breaks, mends in (
        ("killed -9", lambda one: one.docker("kill"), started),
        ("paused", lambda one: one.docker("pause"), lambda one: one.docker("unpause")),
        ("stopped", lambda one: one.docker("stop", "--time", "5"), started),
        ("cut off", disconnect, connect),
    )
]


@pytest.fixture(scope="module")
def signed_in(stack: Stack) -> Browser:
    """A client signed in to the admin of the shared web container."""
    stack.ensure_superuser()
    browser = stack.container("web").browser()
    answer = browser.login("admin@example.com", stack.canaries["DJANGO_SUPERUSER_PASSWORD"])
    assert answer.status == 302
    return browser


def at_once(web: Container, like: Browser, number: int) -> list[Answer]:
    """Ask for a signed-in page over that many connections at once."""
    found: list[Answer] = []

    def ask() -> None:
        browser = web.browser()
        browser.cookies = dict(like.cookies)
        found.append(browser.get("/admin/", timeout=20))

    threads = [threading.Thread(target=ask) for _ in range(number)]
    for thread in threads:
        thread.start()
    alive = [web.browser().get("/livez") for _ in range(5)]
    for thread in threads:
        thread.join()
    assert {answer.status for answer in alive} == {200}
    assert max(answer.seconds for answer in alive) < 2
    return found


def readiness_notices(web: Container, service: str) -> Answer | None:
    """Return the answer of /readyz if it says that the service is away."""
    ready = web.browser().get("/readyz")
    state = (ready.status, ready.json()["postgres"], ready.json()["redis"])
    away = (503, "down", "up") if service == "postgres" else (200, "up", "degraded")
    return ready if state == away else None


def is_well(signed_in: Browser) -> bool:
    """Return whether requests succeed and readiness says so, often enough to meet both workers."""
    paths = ("/admin/", "/readyz") * 8
    return all(signed_in.get(path).status == 200 for path in paths)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.service} {fault.name}")
def test_fault(fault: Fault, stack: Stack, web: Container, signed_in: Browser) -> None:
    service = stack.container(fault.service)
    row = f"{fault.service}-{fault.name.replace(' ', '-')}"
    signed_in.get("/admin/auth/group/add/")
    assert signed_in.post("/admin/auth/group/add/", {"name": row}).status == 302

    fault.breaks(service)
    try:
        pages = at_once(web, signed_in, 20)
        ready, _ = wait_for(lambda: readiness_notices(web, fault.service), NOTICED_WITHIN)
        as_json = signed_in.get("/admin/", timeout=20, Accept="application/json")
    finally:
        fault.mends(service)
    mended = time.monotonic()
    # Redis is a cache: people do not notice.
    assert {page.status for page in pages} == {503 if fault.service == "postgres" else 200}
    assert max(page.seconds for page in pages) < ANSWERED_WITHIN
    assert ready
    assert ready.seconds < ANSWERED_WITHIN
    if fault.service == "postgres":
        assert as_json.status == 503
        assert as_json.json() == {"error": "The service is temporarily unavailable"}
        assert "canary" not in pages[0].body + as_json.body

    wait_for(lambda: is_well(signed_in), 30)
    seconds = time.monotonic() - mended
    worst = max(page.seconds for page in pages)
    statuses = ", ".join(map(str, sorted({page.status for page in pages})))
    figure(
        f"{fault.service} {fault.name}",
        f"{len(pages)} pages: {statuses}, slowest {worst:.1f} s; /livez 200",
        f"well again after {seconds:.1f} s",
    )
    assert seconds < RECOVERED_WITHIN
    wait_for(lambda: web.browser().get("/readyz").json()["redis"] == "up", 10)
    assert row in signed_in.get("/admin/auth/group/").body
    assert web.restarts() == 0


def test_a_crowd_in_an_outage_shuts_nobody_out(
    stack: Stack, web: Container, signed_in: Browser
) -> None:
    postgres = stack.container("postgres")
    postgres.docker("kill")
    try:
        pages = at_once(web, signed_in, CROWD)
    finally:
        started(postgres)
    assert {page.status for page in pages} == {503}
    _, seconds = wait_for(lambda: is_well(signed_in), RECOVERED_WITHIN)
    figure(
        "postgres killed -9",
        f"{CROWD} pages: 503; /livez 200",
        f"well again after {seconds:.1f} s",
    )


UPLOAD = (
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    + b"0" * 5_000_000
    + b"\r\n--x--\r\n"
)


def upload(web: Container) -> Answer:
    """Post a file that is too large for memory; without a token, so that 403 is the good answer."""
    browser = web.browser(Content_Type="multipart/form-data; boundary=x")
    return browser.send("POST", "/admin/login/", UPLOAD)


def test_full_tmp(web: Container, signed_in: Browser) -> None:
    assert upload(web).status == 403
    web.exec("sh", "-c", "head -c 1000000000 /dev/zero >/tmp/full", check=False)
    try:
        full = upload(web)
        pages = at_once(web, signed_in, 10)
    finally:
        web.exec("rm", "/tmp/full")  # noqa: S108
    assert full.status == 503
    assert {page.status for page in pages} == {200}
    _, seconds = wait_for(lambda: upload(web).status == 403, RECOVERED_WITHIN)
    figure(
        "/tmp full",  # noqa: S108
        "10 pages: 200; an upload: 503; /livez 200",
        f"well again after {seconds:.1f} s",
    )
    assert web.restarts() == 0

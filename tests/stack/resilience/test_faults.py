"""Responses while a backing service is unavailable, and the time until the site recovers.

Each test causes a fault in the running stack and repairs it. The web container never restarts.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

import pytest

from scripts.stack.engine import Answer, Browser, Container, Stack, run, wait_for
from tests.stack.figures import figure

# The promised limits, in seconds.
ANSWERED_WITHIN = 5.0
RECOVERED_WITHIN = 5.0
# Readiness asks the services every 5 s, and waits 2 s for an answer.
NOTICED_WITHIN = 8.0
# More requests than may wait for the pools of two workers (backends/database.py): some are refused.
CROWD = 100


def start(service: Container) -> None:
    """Start a service again and wait until it answers."""
    service.docker("start")
    if "postgres" in service.inspect()["Name"]:
        question = ["pg_isready", "--host", "127.0.0.1"]
        answer = "accepting connections"
    else:
        question, answer = ["sh", "-c", "redis-cli $REDISCLI_OPTIONS ping"], "PONG"
    wait_for(lambda: answer in service.exec(*question, check=False), 30)


def disconnect(service: Container) -> None:
    """Disconnect a service from its network."""
    run("docker", "network", "disconnect", service.stack.data, service.id)


def connect(service: Container) -> None:
    """Connect a service to its network again."""
    name = "postgres" if "postgres" in service.inspect()["Name"] else "redis"
    run("docker", "network", "connect", "--alias", name, service.stack.data, service.id)


@dataclasses.dataclass(frozen=True)
class Fault:
    """A way to break a service, and the way to repair it."""

    service: str
    name: str
    make: Callable[[Container], object]
    repair: Callable[[Container], object]

    def __str__(self) -> str:
        return f"{self.service} {self.name}"


FAULTS = [
    Fault(service, name, make, repair)
    for service in ("postgres", "redis")
    for name, make, repair in (
        ("killed -9", lambda container: container.docker("kill"), start),
        (
            "paused",
            lambda container: container.docker("pause"),
            lambda container: container.docker("unpause"),
        ),
        ("stopped", lambda container: container.docker("stop", "--time", "5"), start),
        ("cut off", disconnect, connect),
    )
]
REDIS_FAULTS = [fault for fault in FAULTS if fault.service == "redis"]


def sign_in(web: Container) -> Browser:
    """Return a client signed in to the admin."""
    browser = web.browser()
    password = web.stack.canaries["DJANGO_SUPERUSER_PASSWORD"]
    assert browser.login("admin@example.com", password).status == 302
    return browser


@pytest.fixture(scope="module")
def signed_in(stack: Stack) -> Browser:
    """A client signed in to the admin of the shared web container."""
    return sign_in(stack.container("web"))


def get_at_once(web: Container, like: Browser, number: int) -> list[Answer]:
    """Request a page ``number`` times at once as a signed-in user, and check liveness meanwhile."""
    found: list[Answer] = []

    def get() -> None:
        browser = web.browser()
        browser.cookies = dict(like.cookies)
        found.append(browser.get("/admin/", timeout=20))

    threads = [threading.Thread(target=get) for _ in range(number)]
    for thread in threads:
        thread.start()
    alive = [web.browser().get("/livez") for _ in range(5)]
    for thread in threads:
        thread.join()
    assert {answer.status for answer in alive} == {200}
    assert max(answer.seconds for answer in alive) < 2
    return found


def check_health(web: Container) -> None:
    """Run the container's own health check: ECS replaces a container that fails it repeatedly."""
    about = web.inspect()
    _, *command = about["Config"]["Healthcheck"]["Test"]
    web.exec(*command)
    assert about["State"]["Health"]["Status"] == "healthy"
    assert web.restarts() == 0


def readiness_without(web: Container, service: str) -> Answer | None:
    """Return the answer of /readyz if it reports that the service is away."""
    ready = web.browser().get("/readyz")
    state = (ready.status, ready.json()["postgres"], ready.json()["redis"])
    away = (503, "down", "up") if service == "postgres" else (200, "up", "degraded")
    return ready if state == away else None


def has_recovered(signed_in: Browser) -> bool:
    """Return whether pages and readiness answer, often enough to reach both workers."""
    paths = ("/admin/", "/readyz") * 8
    return all(signed_in.get(path).status == 200 for path in paths)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_site_answers_during_fault_and_recovers(
    fault: Fault, stack: Stack, web: Container, signed_in: Browser
) -> None:
    service = stack.container(fault.service)
    row = str(fault).replace(" ", "-")
    signed_in.get("/admin/auth/group/add/")
    assert signed_in.post("/admin/auth/group/add/", {"name": row}).status == 302

    fault.make(service)
    try:
        pages = get_at_once(web, signed_in, 20)
        ready, _ = wait_for(lambda: readiness_without(web, fault.service), NOTICED_WITHIN)
        as_json = signed_in.get("/admin/", timeout=20, Accept="application/json")
        check_health(web)
    finally:
        fault.repair(service)
    repaired = time.monotonic()
    # Users do not notice a Redis fault, because Redis is only a cache.
    assert {page.status for page in pages} == {503 if fault.service == "postgres" else 200}
    assert max(page.seconds for page in pages) < ANSWERED_WITHIN
    assert ready
    assert ready.seconds < ANSWERED_WITHIN
    if fault.service == "postgres":
        assert as_json.status == 503
        assert as_json.json() == {"error": "The service is temporarily unavailable"}
        assert "canary" not in pages[0].body + as_json.body

    wait_for(lambda: has_recovered(signed_in), 30)
    seconds = time.monotonic() - repaired
    slowest = max(page.seconds for page in pages)
    statuses = ", ".join(map(str, sorted({page.status for page in pages})))
    figure(
        str(fault),
        f"{len(pages)} pages: {statuses}, slowest {slowest:.1f} s; /livez 200",
        f"recovered after {seconds:.1f} s",
    )
    assert seconds < RECOVERED_WITHIN
    wait_for(lambda: web.browser().get("/readyz").json()["redis"] == "up", 10)
    assert row in signed_in.get("/admin/auth/group/").body


@pytest.mark.parametrize("fault", REDIS_FAULTS, ids=str)
def test_sign_out_holds_after_redis_fault(
    fault: Fault, stack: Stack, web: Container, signed_in: Browser
) -> None:
    service = stack.container(fault.service)
    browser = sign_in(web)
    old = web.browser()
    old.cookies = dict(browser.cookies)
    assert has_recovered(old)
    fault.make(service)
    try:
        assert browser.post("/accounts/logout/", {}).status == 302
    finally:
        fault.repair(service)
    # Repeat the request, so that it reaches both workers before and after they use Redis again.
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        answer = web.browser(Cookie=f"sessionid={old.cookies['sessionid']}").get("/admin/")
        assert answer.status == 302
    assert web.browser().get("/readyz").json()["redis"] == "up"
    figure(str(fault), "sign-out meanwhile", "the old cookie stays refused")
    # Signing out without Redis ends all sessions of the user.
    signed_in.cookies = sign_in(web).cookies


def test_crowd_during_outage_does_not_delay_recovery(
    stack: Stack, web: Container, signed_in: Browser
) -> None:
    postgres = stack.container("postgres")
    postgres.docker("kill")
    try:
        pages = get_at_once(web, signed_in, CROWD)
    finally:
        start(postgres)
    assert {page.status for page in pages} == {503}
    _, seconds = wait_for(lambda: has_recovered(signed_in), RECOVERED_WITHIN)
    figure(
        "postgres killed -9",
        f"{CROWD} pages: 503; /livez 200",
        f"recovered after {seconds:.1f} s",
    )


UPLOAD = (
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    + b"0" * 5_000_000
    + b"\r\n--x--\r\n"
)


def upload(web: Container) -> Answer:
    """Post a file that is too large for memory. Without a CSRF token, 403 means it was accepted."""
    browser = web.browser(Content_Type="multipart/form-data; boundary=x")
    return browser.send("POST", "/admin/login/", UPLOAD)


def test_full_tmp_fails_uploads_only(web: Container, signed_in: Browser) -> None:
    assert upload(web).status == 403
    web.exec("sh", "-c", "head -c 1000000000 /dev/zero >/tmp/full", check=False)
    try:
        full = upload(web)
        pages = get_at_once(web, signed_in, 10)
        check_health(web)
    finally:
        web.exec("rm", "/tmp/full")  # noqa: S108
    assert full.status == 503
    assert {page.status for page in pages} == {200}
    _, seconds = wait_for(lambda: upload(web).status == 403, RECOVERED_WITHIN)
    figure(
        "/tmp full",  # noqa: S108
        "10 pages: 200; an upload: 503; /livez 200",
        f"recovered after {seconds:.1f} s",
    )

"""Users' tasks in Chromium on both targets, with no error in the browser's console.

The console shows what the content security policy blocks. Screenshots are saved in
.local/screenshots/ for review; docs/home.png is one of them.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Iterator
from queue import Queue
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
from pydantic import AnyUrl
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.wait import WebDriverWait

from scripts.stack.engine import ROOT, Container, Stack, wait_for
from tests.oauth.sdk_client import Memory, loopback_server

SCREENSHOTS = ROOT / ".local" / "screenshots"
SUPERUSER = "admin@example.com"
PASSWORD = "correct horse battery"
OTHER_PASSWORD = "staple of a battery"
PAGE_TIMEOUT = 20  # seconds
LOADED_FILES = """
return performance.getEntriesByType("resource").map(file => [file.name, file.responseStatus])
"""


class Person:
    """A user of one target in a browser."""

    def __init__(self, driver: Chrome, web: Container, target: str) -> None:
        self.driver, self.web, self.target = driver, web, target
        self.expected: set[int] = set()

    @property
    def path(self) -> str:
        """The path of the current URL."""
        return urlsplit(str(self.driver.current_url)).path

    @property
    def heading(self) -> str:
        return str(self.find("h1").text)

    @property
    def text(self) -> str:
        """The visible text of the page."""
        return str(self.find("body").text)

    def find(self, selector: str) -> WebElement:
        """Return the element of a CSS selector, waiting until it exists."""
        present = expected.presence_of_element_located((By.CSS_SELECTOR, selector))
        return WebDriverWait(self.driver, PAGE_TIMEOUT).until(present)

    def open(self, path: str) -> dict[str, int]:
        """Open a path of the site; return the status of each file that the page loads.

        Chromium drops its requests when a network of the machine appears, as those of containers
        do. Such a request has the status 0, and the page is opened again.
        """
        for _ in range(3):
            self.driver.get(self.web.url + path)
            statuses = dict(self.driver.execute_script(LOADED_FILES))
            if all(statuses.values()):
                break
        return statuses

    def follow(self, link_text: str) -> None:
        """Click a link and wait for the next page."""
        self._click(self.driver.find_element(By.LINK_TEXT, link_text))

    def fill_in(self, **fields: str) -> None:
        """Fill in form fields by name."""
        for name, value in fields.items():
            field = self.find(f"[name={name}]")
            field.clear()
            field.send_keys(value)

    def press(self, selector: str = "main form button") -> None:
        """Press a button and wait for the next page."""
        self._click(self.find(selector))

    def _click(self, element: WebElement) -> None:
        self.driver.execute_script("window.left = false")
        element.click()
        loaded = "return window.left === undefined && document.readyState === 'complete'"
        # Between two pages, the driver may have no window.
        wait = WebDriverWait(self.driver, PAGE_TIMEOUT, 0.1, [WebDriverException])
        wait.until(lambda driver: driver.execute_script(loaded))

    def sign_in(self, email: str, password: str, path: str = "/accounts/login/") -> None:
        """Sign in on the site's own page or the admin's."""
        self.open(path)
        self.fill_in(username=email, password=password)
        self.press("form [type=submit], form button")

    def make_user(self, email: str) -> str:
        """Create a user that only this target's tests use, and return its address."""
        email = f"{self.target}-{email}"
        self.web.stack.add_users(PASSWORD, email)
        return email

    def take_screenshots(self, name: str) -> None:
        """Save light, dark, wide and narrow screenshots; fail if the page scrolls sideways."""
        for scheme in ("light", "dark"):
            for width, height in ((1000, 500), (360, 640)):
                self.emulate(scheme, width, height)
                overflow = "return document.documentElement.scrollWidth - innerWidth"
                assert self.driver.execute_script(overflow) <= 0, f"{name} at {width}"
                size = "narrow" if width < 500 else "wide"
                file = SCREENSHOTS / f"{self.target}-{name}-{scheme}-{size}.png"
                self.driver.save_screenshot(str(file))
        self.emulate("light", 1000, 500)

    def emulate(self, scheme: str, width: int, height: int) -> None:
        """Set the colour scheme and the window's size."""
        preference = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def console_errors(self) -> list[str]:
        """Return the console's messages, without those about expected statuses."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")
        # Containers start and stop elsewhere on this machine. Scripts then miss the dropped files.
        network_changed = any("net::ERR_NETWORK_CHANGED" in entry["message"] for entry in entries)
        expected_status = re.compile(
            rf"responded with a status of ({'|'.join(map(str, self.expected))}) "
        )
        return [
            entry["message"]
            for entry in entries
            if not (self.expected and expected_status.search(entry["message"]))
            and "net::ERR_NETWORK_CHANGED" not in entry["message"]
            and not (network_changed and entry["source"] == "javascript")
            # Chromium's advice about Django's own pages.
            and not (entry["level"] in ("DEBUG", "INFO") and "/admin/" in entry["message"])
        ]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    """Debian's Chromium in headless mode."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.fail(
            "The browser tests need chromium and chromedriver: on Debian and Ubuntu, "
            "apt install chromium chromium-driver.",
            pytrace=False,
        )
    options = ChromeOptions()
    options.binary_location = browser
    options.add_argument("--headless=new")
    options.add_argument("--disable-background-networking")
    options.add_argument("--disable-dev-shm-usage")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    started = Chrome(options, Service(driver))
    yield started
    started.quit()


@pytest.fixture(scope="module", params=["ecs", "dev"])
def site(stack: Stack, request: pytest.FixtureRequest) -> Iterator[tuple[str, Container]]:
    """A web container of each target, with additional views that fail."""
    web = stack.start(
        target=request.param,
        env={"DJANGO_SETTINGS_MODULE": "extra_settings", "PYTHONPATH": "/app/src:/apps"},
        options=("--volume", f"{ROOT}/tests/stack/apps:/apps:ro"),
    ).wait_ready()
    yield request.param, web
    stack.end_lockouts()
    web.remove()


@pytest.fixture
def person(chrome: Chrome, site: tuple[str, Container]) -> Iterator[Person]:
    """A new visitor. The test fails if the console shows an error."""
    target, web = site
    visitor = Person(chrome, web, target)
    visitor.emulate("light", 1000, 500)
    yield visitor
    console_errors = visitor.console_errors()
    chrome.get("about:blank")
    chrome.execute_cdp_cmd("Network.clearBrowserCookies", {})
    assert console_errors == []


@pytest.fixture
def admin(person: Person, stack: Stack) -> Person:
    """The superuser, signed in."""
    person.sign_in(SUPERUSER, stack.canaries["DJANGO_SUPERUSER_PASSWORD"])
    return person


def test_user_signs_in_and_out(person: Person) -> None:
    email = person.make_user("ada@example.com")
    person.open("/")
    person.follow("Sign in")
    person.take_screenshots("login")
    person.fill_in(username=email.upper(), password=PASSWORD)
    person.press()
    assert person.path == "/"
    assert f"Signed in as {email}" in person.text
    person.press()
    assert person.path == "/"
    assert "Signed in" not in person.text


def test_home_page_shows_backing_services_to_staff(admin: Person) -> None:
    assert "PostgreSQL" in admin.text
    admin.take_screenshots("home")


def test_wrong_password_shows_an_error_and_the_right_one_signs_in(person: Person) -> None:
    email = person.make_user("wrong@example.com")
    person.sign_in(email, OTHER_PASSWORD)
    assert person.driver.title.startswith("Error: Sign in")
    assert "Please enter a correct e-mail address" in person.text
    person.take_screenshots("login-wrong")
    person.fill_in(password=PASSWORD)
    person.press()
    assert f"Signed in as {email}" in person.text


@pytest.mark.parametrize("path", ["/accounts/login/", "/admin/login/"])
def test_five_wrong_passwords_lock_the_account(person: Person, path: str) -> None:
    email = person.make_user(f"locked-{path.split('/')[1]}@example.com")
    person.expected = {429}
    for _ in range(5):
        person.sign_in(email, OTHER_PASSWORD, path)
    assert person.heading == "Too many attempts"
    person.take_screenshots("429")
    person.sign_in(email, PASSWORD, path)
    assert person.heading == "Too many attempts"


def test_user_changes_the_password(person: Person) -> None:
    email = person.make_user("change@example.com")
    person.sign_in(email, PASSWORD)
    person.follow("Change password")
    person.fill_in(old_password=OTHER_PASSWORD, new_password1="12345678", new_password2="1234567")
    person.press()
    field = person.find("[name=old_password][aria-invalid=true]")
    described = str(field.get_attribute("aria-describedby"))
    assert "entered incorrectly" in person.find(f"#{described.split()[-1]}").text
    person.take_screenshots("password-change")
    person.fill_in(
        old_password=PASSWORD, new_password1=OTHER_PASSWORD, new_password2=OTHER_PASSWORD
    )
    person.press()
    assert person.heading == "Password change successful"
    person.driver.delete_all_cookies()
    person.sign_in(email, OTHER_PASSWORD)
    assert f"Signed in as {email}" in person.text


@pytest.fixture
def dev_worker(stack: Stack) -> Iterator[Container]:
    """A worker of the dev target, which writes mail to its log, in place of the stack's own."""
    other_worker = stack.container("worker")
    other_worker.docker("stop")
    worker = stack.start(target="dev", service="worker")
    yield worker.wait_healthy()
    worker.remove()
    other_worker.docker("start")


@pytest.mark.parametrize("site", ["dev"], indirect=True)
def test_mailed_link_resets_the_password(person: Person, dev_worker: Container) -> None:
    email = person.make_user("reset@example.com")
    person.open("/accounts/login/")
    person.follow("Forgot your password?")
    person.take_screenshots("password-reset")
    person.fill_in(email=email)
    person.press()
    assert person.heading == "Password reset sent"
    written = re.compile(rf"{person.web.url}(/accounts/reset/\S+)")
    (link, *_), _ = wait_for(lambda: written.findall(dev_worker.logs()), 30)
    person.open(link)
    assert person.heading == "Enter new password"
    person.take_screenshots("password-reset-confirm")
    person.fill_in(new_password1=OTHER_PASSWORD, new_password2=OTHER_PASSWORD)
    person.press()
    assert person.heading == "Password reset complete"
    person.follow("Sign in")
    person.fill_in(username=email, password=OTHER_PASSWORD)
    person.press()
    assert f"Signed in as {email}" in person.text
    person.open(link)
    assert person.heading == "Password reset unsuccessful"
    # The access log masks the link.
    requests = [line for line in person.web.logs().splitlines() if "GET /accounts/reset/" in line]
    assert requests
    assert not any(link in line for line in requests)


@pytest.mark.parametrize("site", ["ecs"], indirect=True)
def test_site_without_mail_server_shows_a_notice(person: Person) -> None:
    person.open("/accounts/password_reset/")
    assert "This site sends no e-mail" in person.text


@pytest.mark.parametrize("site", ["ecs"], indirect=True)
def test_mcp_client_is_allowed_and_disconnected(person: Person) -> None:
    email = person.make_user("mcp@example.com")
    memory = Memory()

    def consent(url: str) -> None:
        person.driver.get(url)
        person.fill_in(username=email, password=PASSWORD)
        person.press()
        assert person.heading == "Allow Editor?"
        person.take_screenshots("consent")
        person.press("button[name=allow]")

    async def call(redirect_uri: str, paths: Queue[str]) -> tuple[Any, str]:
        """Call the tool; return its result and the authorization code."""
        answer: dict[str, str] = {}

        async def receive() -> AuthorizationCodeResult:
            path = await asyncio.to_thread(paths.get, timeout=PAGE_TIMEOUT)
            answer.update(parse_qsl(urlsplit(path).query))
            return AuthorizationCodeResult(**answer)

        provider = OAuthClientProvider(
            f"{person.web.url}/mcp",
            OAuthClientMetadata(redirect_uris=[AnyUrl(redirect_uri)], client_name="Editor"),
            memory,
            lambda url: asyncio.to_thread(consent, url),
            receive,
        )
        async with (
            httpx2.AsyncClient(auth=provider) as http,
            Client(streamable_http_client(f"{person.web.url}/mcp", http_client=http)) as client,
        ):
            result = await client.call_tool("whoami")
        return result.structured_content, answer["code"]

    with loopback_server() as (redirect_uri, paths):
        caller, code = asyncio.run(call(redirect_uri, paths))
    assert caller["user"] == email
    tokens = memory.tokens
    assert tokens
    browser = person.web.browser(Authorization=f"Bearer {tokens.access_token}")
    assert browser.send("POST", "/mcp", b"{}").status == 400
    person.open("/")
    person.follow("Connected applications")
    person.take_screenshots("connections")
    person.press("td button")
    assert "No application is connected" in person.text
    assert browser.send("POST", "/mcp", b"{}").status == 401
    logs = person.web.logs()
    assert "/oauth/authorize/" in logs
    for secret in (code, tokens.access_token, str(tokens.refresh_token)):
        assert secret not in logs


def test_superuser_adds_changes_and_deletes_a_user(admin: Person) -> None:
    email = f"{admin.target}-new@example.com"
    save = "input[name=_save]"
    admin.open("/admin/accounts/user/add/")
    admin.fill_in(email=email, password1=PASSWORD, password2=PASSWORD)
    admin.press(save)
    assert "was added successfully" in admin.text
    admin.fill_in(name="Somebody New")
    admin.press(save)
    assert "was changed successfully" in admin.text
    assert "Somebody New" in admin.text
    admin.follow(email)
    admin.press(".historylink")
    assert "Added." in admin.text
    admin.driver.back()
    admin.press(".deletelink")
    admin.press("#content input[type=submit]")
    assert "was deleted successfully" in admin.text
    assert not admin.driver.find_elements(By.LINK_TEXT, email)


def test_admin_pages_have_no_console_errors(admin: Person) -> None:
    for path in (
        "",
        "accounts/user/?q=a",
        "auth/group/",
        "auth/group/add/",
        "django_ox/oxtask/",
        "oauth2_provider/accesstoken/",
        "oauth2_provider/application/add/",
        "password_change/",
    ):
        admin.open(f"/admin/{path}")
        assert admin.console_errors() == [], path
    admin.open("/admin/")
    admin.take_screenshots("admin")
    admin.press("#logout-form button")
    assert "Sign in" in admin.text


def test_static_files_and_icon_load(person: Person) -> None:
    for path in ("/", "/accounts/login/", "/admin/login/"):
        statuses = person.open(path)
        assert any(name.endswith(".css") for name in statuses), path
        assert {name: status for name, status in statuses.items() if status != 200} == {}
    person.open("/favicon.ico")
    assert person.path.startswith("/static/icon")
    assert person.find("svg")


@pytest.mark.parametrize("site", ["ecs"], indirect=True)
@pytest.mark.parametrize(
    ("status", "path"),
    [
        (400, "/?a=%00"),
        (403, "/fail/403/"),
        (404, "/none"),
        (500, "/fail/500/"),
        (503, "/fail/503/"),
    ],
)
def test_error_page_links_home(person: Person, status: int, path: str) -> None:
    person.expected = {status}
    person.open(path)
    assert str(status) in person.text or status == 503
    person.take_screenshots(str(status))
    person.follow("Home")
    assert person.path == "/"


@pytest.mark.parametrize("site", ["dev"], indirect=True)
def test_debug_toolbar_and_error_page_work(admin: Person) -> None:
    def panel() -> str:
        return str(toolbar.find_element(By.CSS_SELECTOR, "#SQLPanel").text)

    admin.open("/")
    toolbar = admin.find("#djDebugRoot").shadow_root
    toolbar.find_element(By.CSS_SELECTOR, "#djShowToolBarButton").click()
    toolbar.find_element(By.CSS_SELECTOR, "#djdt-SQLPanel a").click()
    wait_for(lambda: "SHOW server_version" in panel(), PAGE_TIMEOUT)
    admin.expected = {404, 500}
    for path in ("/none", "/fail/500/"):
        admin.open(path)
        assert "DEBUG = True" in admin.text

"""Both targets in Chromium: what people do, and that no page has an error in the console.

The console is where a browser says that the content security policy stopped something. Screenshots
go to .local/screenshots/, to be looked at; docs/home.png is one of them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.wait import WebDriverWait

from scripts.stack.engine import ROOT, Container, Stack, wait_for

SCREENSHOTS = ROOT / ".local" / "screenshots"
SUPERUSER = "admin@example.com"
PASSWORD = "correct horse battery"
OTHER_PASSWORD = "staple of a battery"
PATIENCE = 20  # seconds


class Person:
    """Somebody in front of a browser, on one target."""

    def __init__(self, driver: Chrome, web: Container, target: str) -> None:
        """Look at the target's site, with no cookies."""
        self.driver, self.web, self.target = driver, web, target
        self.expected: set[int] = set()

    @property
    def path(self) -> str:
        """The address's path."""
        return urlsplit(str(self.driver.current_url)).path

    @property
    def heading(self) -> str:
        """The page's main heading."""
        return str(self.find("h1").text)

    @property
    def text(self) -> str:
        """All that is to be read on the page."""
        return str(self.find("body").text)

    def find(self, selector: str) -> WebElement:
        """Return the element of a CSS selector; wait until it is there."""
        there = expected.presence_of_element_located((By.CSS_SELECTOR, selector))
        return WebDriverWait(self.driver, PATIENCE).until(there)

    def open(self, path: str) -> None:
        """Open an address of the site."""
        self.driver.get(self.web.url + path)

    def follow(self, words: str) -> None:
        """Click a link."""
        self._leave_by(self.driver.find_element(By.LINK_TEXT, words))

    def fill_in(self, **fields: str) -> None:
        """Write into fields, by their names."""
        for name, value in fields.items():
            field = self.find(f"[name={name}]")
            field.clear()
            field.send_keys(value)

    def press(self, selector: str = "main form button") -> None:
        """Press a button, and wait for the next page."""
        self._leave_by(self.find(selector))

    def _leave_by(self, element: WebElement) -> None:
        self.driver.execute_script("window.left = false")
        element.click()
        there = "return window.left === undefined && document.readyState === 'complete'"
        # Between two pages the driver may have neither.
        wait = WebDriverWait(self.driver, PATIENCE, 0.1, [WebDriverException])
        wait.until(lambda driver: driver.execute_script(there))

    def sign_in(self, email: str, password: str, path: str = "/accounts/login/") -> None:
        """Fill in the form of ours, or the admin's."""
        self.open(path)
        self.fill_in(username=email, password=password)
        self.press("form [type=submit], form button")

    def make_user(self, email: str) -> str:
        """Make a user of this target's, and return its address."""
        email = f"{self.target}-{email}"
        code = f"User.objects.create_user({email!r}, {PASSWORD!r})"
        self.web.exec("python", "manage.py", "shell", "--verbosity=0", "--command", code)
        return email

    def look(self, name: str) -> None:
        """Take screenshots, light and dark, wide and narrow; fail where the page must be pushed."""
        for scheme in ("light", "dark"):
            for width, height in ((1000, 500), (360, 640)):
                self.emulate(scheme, width, height)
                hidden = "return document.documentElement.scrollWidth - innerWidth"
                assert self.driver.execute_script(hidden) <= 0, f"{name} at {width}"
                size = "narrow" if width < 500 else "wide"
                file = SCREENSHOTS / f"{self.target}-{name}-{scheme}-{size}.png"
                self.driver.save_screenshot(str(file))
        self.emulate("light", 1000, 500)

    def emulate(self, scheme: str, width: int, height: int) -> None:
        """Have that window and colour scheme."""
        preference = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def complaints(self) -> list[str]:
        """Return what the console holds that is not the status of an answer we expect."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")
        fine = re.compile(rf"responded with a status of ({'|'.join(map(str, self.expected))}) ")
        return [
            entry["message"]
            for entry in entries
            if not (self.expected and fine.search(entry["message"]))
            # A container came or went elsewhere on this machine.
            and "net::ERR_NETWORK_CHANGED" not in entry["message"]
            # Advice on pages that are Django's.
            and not (entry["level"] in ("DEBUG", "INFO") and "/admin/" in entry["message"])
        ]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    """Debian's Chromium, without a screen."""
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
    """A web container of each target, with pages that fail."""
    web = stack.start(
        target=request.param,
        env={"DJANGO_SETTINGS_MODULE": "extra_settings", "PYTHONPATH": "/app/src:/apps"},
        options=("--volume", f"{ROOT}/tests/stack/apps:/apps:ro"),
    ).wait_ready(60)
    web.exec("python", "manage.py", "ensure_superuser")
    yield request.param, web
    # All tests come from one address, which must not be locked for the next.
    web.exec("python", "manage.py", "axes_reset")
    web.remove()


@pytest.fixture
def person(chrome: Chrome, site: tuple[str, Container]) -> Iterator[Person]:
    """Somebody who is new to the site; nothing that they see may make the browser complain."""
    target, web = site
    somebody = Person(chrome, web, target)
    somebody.emulate("light", 1000, 500)
    yield somebody
    complaints = somebody.complaints()
    chrome.get("about:blank")
    chrome.execute_cdp_cmd("Network.clearBrowserCookies", {})
    assert complaints == []


@pytest.fixture
def admin(person: Person, stack: Stack) -> Person:
    """The superuser, signed in."""
    person.sign_in(SUPERUSER, stack.canaries["DJANGO_SUPERUSER_PASSWORD"])
    return person


def test_signs_in_and_out(person: Person) -> None:
    email = person.make_user("ada@example.com")
    person.open("/")
    person.follow("Sign in")
    person.look("login")
    person.fill_in(username=email.upper(), password=PASSWORD)
    person.press()
    assert person.path == "/"
    assert f"Signed in as {email}" in person.text
    person.press()
    assert person.path == "/"
    assert "Signed in" not in person.text


def test_home(admin: Person) -> None:
    assert "PostgreSQL" in admin.text
    admin.look("home")


def test_wrong_password(person: Person) -> None:
    email = person.make_user("wrong@example.com")
    person.sign_in(email, OTHER_PASSWORD)
    assert person.driver.title.startswith("Error: Sign in")
    assert "Please enter a correct e-mail address" in person.text
    person.look("login-wrong")
    person.fill_in(password=PASSWORD)
    person.press()
    assert f"Signed in as {email}" in person.text


@pytest.mark.parametrize("path", ["/accounts/login/", "/admin/login/"])
def test_lock_out(person: Person, path: str) -> None:
    email = person.make_user(f"locked-{path.split('/')[1]}@example.com")
    person.expected = {429}
    for _ in range(5):
        person.sign_in(email, OTHER_PASSWORD, path)
    assert person.heading == "Too many failed sign-ins"
    person.look("429")
    person.sign_in(email, PASSWORD, path)
    assert person.heading == "Too many failed sign-ins"


def test_password_change(person: Person) -> None:
    email = person.make_user("change@example.com")
    person.sign_in(email, PASSWORD)
    person.follow("Change password")
    person.fill_in(old_password=OTHER_PASSWORD, new_password1="12345678", new_password2="1234567")
    person.press()
    field = person.find("[name=old_password][aria-invalid=true]")
    described = str(field.get_attribute("aria-describedby"))
    assert "entered incorrectly" in person.find(f"#{described.split()[-1]}").text
    person.look("password-change")
    person.fill_in(
        old_password=PASSWORD, new_password1=OTHER_PASSWORD, new_password2=OTHER_PASSWORD
    )
    person.press()
    assert person.heading == "Password change successful"
    person.driver.delete_all_cookies()
    person.sign_in(email, OTHER_PASSWORD)
    assert f"Signed in as {email}" in person.text


@pytest.mark.parametrize("site", ["dev"], indirect=True)
def test_password_reset(person: Person) -> None:
    email = person.make_user("reset@example.com")
    person.open("/accounts/login/")
    person.follow("Forgot your password?")
    person.look("password-reset")
    person.fill_in(email=email)
    person.press()
    assert person.heading == "Password reset sent"
    written = re.compile(rf"{person.web.url}(/accounts/reset/\S+)")
    (link, *_), _ = wait_for(lambda: written.findall(person.web.logs()), 10)
    person.open(link)
    assert person.heading == "Enter new password"
    person.look("password-reset-confirm")
    person.fill_in(new_password1=OTHER_PASSWORD, new_password2=OTHER_PASSWORD)
    person.press()
    assert person.heading == "Password reset complete"
    person.follow("Sign in")
    person.fill_in(username=email, password=OTHER_PASSWORD)
    person.press()
    assert f"Signed in as {email}" in person.text
    person.open(link)
    assert person.heading == "Password reset unsuccessful"
    # The mail is in the log, as it should be here; the requests' own lines hide what it says.
    requests = [line for line in person.web.logs().splitlines() if "GET /accounts/reset/" in line]
    assert requests
    assert not any(link in line for line in requests)


@pytest.mark.parametrize("site", ["ecs"], indirect=True)
def test_password_reset_without_mail(person: Person) -> None:
    person.open("/accounts/password_reset/")
    assert "This site sends no e-mail" in person.text


def test_admin_adds_changes_and_deletes_a_user(admin: Person) -> None:
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


def test_admin_pages(admin: Person) -> None:
    for path in (
        "",
        "accounts/user/?q=a",
        "auth/group/",
        "auth/group/add/",
        "password_change/",
    ):
        admin.open(f"/admin/{path}")
        assert admin.complaints() == [], path
    admin.open("/admin/")
    admin.look("admin")
    admin.press("#logout-form button")
    assert "Sign in" in admin.text


def test_static_files_and_the_icon_arrive(person: Person) -> None:
    for path in ("/", "/accounts/login/", "/admin/login/"):
        person.open(path)
        loaded = person.driver.execute_script(
            "return performance.getEntriesByType('resource').map(e => [e.name, e.responseStatus])"
        )
        statuses = dict(loaded)
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
def test_error_page(person: Person, status: int, path: str) -> None:
    person.expected = {status}
    person.open(path)
    assert str(status) in person.text or status == 503
    person.look(str(status))
    person.follow("Home")
    assert person.path == "/"


@pytest.mark.parametrize("site", ["dev"], indirect=True)
def test_debug_toolbar_and_debug_page(admin: Person) -> None:
    def panel() -> str:
        return str(toolbar.find_element(By.CSS_SELECTOR, "#SQLPanel").text)

    admin.open("/")
    toolbar = admin.find("#djDebugRoot").shadow_root
    toolbar.find_element(By.CSS_SELECTOR, "#djShowToolBarButton").click()
    toolbar.find_element(By.CSS_SELECTOR, "#djdt-SQLPanel a").click()
    wait_for(lambda: "SHOW server_version" in panel(), PATIENCE)
    admin.expected = {404, 500}
    for path in ("/none", "/fail/500/"):
        admin.open(path)
        assert "DEBUG = True" in admin.text

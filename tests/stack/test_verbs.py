"""A newcomer's way through the verbs, in a fresh copy of the project, from outside.

The tests of this module run in their order on one copy: each goes on where the last one ended.
"""

from __future__ import annotations

import http.cookiejar
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
NAME = "methodhub-verbs"
WEB_PORT = 8750
SITE = f"http://localhost:{WEB_PORT}"
ENVIRONMENT = {
    **os.environ,
    "RUNTIME": "docker",
    "COMPOSE_PROJECT_NAME": NAME,
    "WEB_PORT": str(WEB_PORT),
    "POSTGRES_PORT": str(WEB_PORT + 1),
    "REDIS_PORT": str(WEB_PORT + 2),
}
DEV_LOGIN = {"username": "admin@example.com", "password": "admin"}


class Browser:
    """Cookies, forms and their tokens."""

    def __init__(self) -> None:
        """Start with no cookie."""
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(cookies)

    def get(self, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
        """Return status, text and headers (their names in lower case)."""
        return self._open(urllib.request.Request(SITE + path, headers=headers))

    def post(self, path: str, fields: dict[str, str]) -> tuple[int, str, dict[str, str]]:
        """Fill in the form at ``path`` and send it."""
        _, form, _ = self.get(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        assert token, "no form there"
        body = urllib.parse.urlencode({"csrfmiddlewaretoken": token[1], **fields}).encode()
        return self._open(urllib.request.Request(SITE + path, body))

    def _open(self, request: urllib.request.Request) -> tuple[int, str, dict[str, str]]:
        try:
            answer = self._opener.open(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status, answer.read().decode(errors="replace"), headers


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Copy what git would have in a fresh clone; afterwards delete all that was started."""
    folder = tmp_path_factory.mktemp("newcomer") / "methodhub"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    yield folder
    done = run(folder, "make", "reset", "FORCE=1")
    assert done.returncode == 0, done.stderr
    subprocess.run(["docker", "rmi", "-f", f"{NAME}-dev", f"{NAME}-ecs"], capture_output=True)


@pytest.fixture(scope="module")
def browser() -> Browser:
    """One person's browser, kept through all of it."""
    return Browser()


def run(folder: Path, *command: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command in the copy; its output is shown when the test fails."""
    done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        **({"env": ENVIRONMENT} | options),
    )
    print(f"$ {' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done


def container(service: str) -> str:
    """Return the id of the service's container."""
    return subprocess.run(
        [
            *("docker", "ps", "--quiet", "--no-trunc"),
            *("--filter", f"label=com.docker.compose.project={NAME}"),
            *("--filter", f"label=com.docker.compose.service={service}"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def eventually(check: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until ``check`` is true; connections that fail meanwhile are a no."""
    end = time.monotonic() + seconds
    while True:
        try:
            if check():
                return
        except (OSError, urllib.error.URLError):
            pass
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.1)


def test_bare_compose_up_needs_no_step_before_it(clone: Path) -> None:
    environment = {k: v for k, v in ENVIRONMENT.items() if not k.startswith("HOST_")}
    done = subprocess.run(
        ["docker", "compose", "up", "--detach", "--wait"],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (clone / "env" / "secrets.env").exists()
    stranger = Browser()
    stranger.post("/admin/login/", DEV_LOGIN)
    assert stranger.get("/admin/")[0] == 200
    assert run(clone, "make", "reset", "FORCE=1").returncode == 0


def test_up_says_where_to_go_and_the_login_works(clone: Path, browser: Browser) -> None:
    done = run(clone, "make", "up")
    assert done.returncode == 0
    assert f"{SITE}/admin/   admin@example.com / admin" in done.stdout
    assert "Runtime: docker" in done.stderr
    assert (clone / "env" / "secrets.env").stat().st_mode & 0o777 == 0o600
    browser.post("/admin/login/?next=/admin/", DEV_LOGIN)
    assert "Site administration" in browser.get("/admin/")[1]


def test_up_again_is_harmless(clone: Path) -> None:
    before = container("web")
    secrets = (clone / "env" / "secrets.env").read_text()
    assert run(clone, "make", "up").returncode == 0
    assert container("web") == before
    assert (clone / "env" / "secrets.env").read_text() == secrets


EDITS = {
    # What is edited: file, old text, new text, the page that shows it, what it shows.
    "view": (
        "home/views.py",
        "Service(name, answer,",
        "Service(name + ' seen', answer,",
        "/",
        " seen</th>",
    ),
    "template": ("home/templates/home/home.html", "<h1>MCP", "<h1>New MCP", "/", "<h1>New MCP"),
    "model": (
        "accounts/models.py",
        "return self.email",
        'return f"<{self.email}>"',
        "/admin/accounts/user/1/change/",
        "&lt;admin@example.com&gt;",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_shows_without_restart(clone: Path, browser: Browser, edit: str) -> None:
    file, old, new, page, shown = EDITS[edit]
    path = clone / "src" / file
    before, text = container("web"), path.read_text()
    assert old in text
    assert shown not in browser.get(page)[1]
    path.write_text(text.replace(old, new))
    eventually(lambda: shown in browser.get(page)[1])
    path.write_text(text)
    eventually(lambda: shown not in browser.get(page)[1] and browser.get(page)[0] == 200)
    assert container("web") == before


def test_makemigrations_leaves_files_of_the_host_user(clone: Path) -> None:
    model = clone / "src" / "accounts" / "models.py"
    before = model.read_text()
    field = "    nick = models.CharField(max_length=9, default='')\n"
    model.write_text(before.replace("    is_active =", field + "    is_active ="))
    somebody: dict[str, object] = {}
    if os.getuid() == 0:
        # Not root, and no number that an image could know by chance.
        for path in [clone, *clone.rglob("*")]:
            os.chown(path, 12345, 12346)
        somebody = {
            "env": ENVIRONMENT | {"HOME": str(clone)},
            "user": 12345,
            "group": 12346,
            "extra_groups": [os.stat("/var/run/docker.sock").st_gid],
        }
        for parent in list(clone.parents)[:3]:
            parent.chmod(parent.stat().st_mode | 0o055)
    assert run(clone, "make", "makemigrations", "ARGS=accounts -n nick", **somebody).returncode == 0
    made = clone / "src" / "accounts" / "migrations" / "0002_nick.py"
    assert "nick" in made.read_text()
    assert (made.stat().st_uid, made.stat().st_gid) == (
        (12345, 12346) if somebody else (os.getuid(), os.getgid())
    )
    made.unlink()
    model.write_text(before)
    if somebody:
        for path in [clone, *clone.rglob("*")]:
            os.chown(path, 0, 0)


def test_up_prodlike_swaps_web_alone_and_keeps_people_signed_in(
    clone: Path, browser: Browser
) -> None:
    services = container("postgres"), container("redis")
    done = run(clone, "make", "up-prodlike")
    assert done.returncode == 0
    assert SITE in done.stdout
    assert (container("postgres"), container("redis")) == services
    assert "Site administration" in browser.get("/admin/")[1]
    stranger = Browser()
    stranger.post("/admin/login/?next=/admin/", DEV_LOGIN)
    assert "Site administration" in stranger.get("/admin/")[1]


def test_prodlike_serves_hashed_compressed_static_files_for_ever(browser: Browser) -> None:
    page = browser.get("/admin/")[1]
    sheet = re.search(r'href="(/static/admin/css/base\.[0-9a-f]{12}\.css)"', page)
    assert sheet, "no hashed name"
    for encoding in ("br", "gzip"):
        status, _, headers = browser.get(sheet[1], **{"Accept-Encoding": encoding})
        assert status == 200
        assert headers["content-encoding"] == encoding
        assert headers["cache-control"] == "max-age=315360000, public, immutable"


def test_prodlike_runs_without_debug(browser: Browser) -> None:
    status, page, _ = browser.get("/no-such-page/")
    assert status == 404
    assert "DEBUG" not in page
    assert "djdt" not in browser.get("/")[1].lower()


def test_prodlike_image_holds_no_debug_package() -> None:
    program = "import importlib.metadata as m; print(*(d.name.lower() for d in m.distributions()))"
    listed = subprocess.run(
        ["docker", "run", "--rm", f"{NAME}-ecs", "python", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    packages = set(listed.split())
    assert {"django", "gunicorn", "psycopg-c"} <= packages
    debug = {"django-debug-toolbar", "django-browser-reload", "django-watchfiles"}
    assert not packages & (debug | {"pytest", "ruff", "uv", "pip"})


@pytest.mark.parametrize("how", ["down", "kill"])
def test_rows_survive(clone: Path, how: str) -> None:
    assert run(clone, "make", "fixtures").returncode == 0
    if how == "down":
        assert run(clone, "make", "down").returncode == 0
        assert container("postgres") == ""
    else:
        subprocess.run(["docker", "kill", container("postgres")], check=True, capture_output=True)
    assert run(clone, "make", "up").returncode == 0
    stranger = Browser()
    ada = {"username": "ada@example.com", "password": "demonstration"}
    stranger.post("/admin/login/?next=/admin/", ada)
    assert "Site administration" in stranger.get("/admin/")[1]


def test_test_runs_one_file(clone: Path) -> None:
    done = run(clone, "make", "test", "T=tests/home/test_home.py")
    assert done.returncode == 0
    assert re.search(r"=+ \d+ passed", done.stdout)


def test_reset_asks_first(clone: Path) -> None:
    done = run(clone, "make", "reset")
    assert done.returncode != 0
    assert "FORCE=1" in done.stderr
    assert container("postgres")


def test_down_stops_everything(clone: Path) -> None:
    assert run(clone, "make", "down").returncode == 0
    assert [container(service) for service in ("web", "postgres", "redis")] == ["", "", ""]

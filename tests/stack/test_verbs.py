"""A newcomer's way through the verbs, in a fresh copy of the project, from outside.

The tests of this module run in their order on one copy: each goes on where the last one ended.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack import engine
from tests.stack.engine import ROOT, Browser, wait_for

PROJECT = f"{engine.PROJECT}-verbs"
WEB_PORT = 8750
SITE = f"http://localhost:{WEB_PORT}"
ENVIRONMENT = {
    # Without what a make around the tests hands down.
    **{k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "HOST_"))},
    "RUNTIME": "docker",
    "COMPOSE_PROJECT_NAME": PROJECT,
    "WEB_PORT": str(WEB_PORT),
    "POSTGRES_PORT": str(WEB_PORT + 10),
    "REDIS_PORT": str(WEB_PORT + 11),
}
ADMIN = ("admin@example.com", "admin")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Copy what git would have in a fresh clone; afterwards delete all that was started."""
    folder = tmp_path_factory.mktemp("newcomer") / "methodhub"
    listed = engine.run(
        *("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    yield folder
    done = run(folder, "make", "reset", "FORCE=1")
    assert done.returncode == 0, done.stderr
    engine.run("docker", "rmi", "--force", f"{PROJECT}-dev", f"{PROJECT}-ecs")


@pytest.fixture(scope="module")
def browser() -> Browser:
    """One person's browser, kept through all of it."""
    return Browser(SITE)


def run(folder: Path, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in the copy; its output is shown when the test fails."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
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
    """Return the id of the service's container; nothing when it does not run."""
    return engine.run(
        *("docker", "ps", "--quiet", "--no-trunc"),
        *("--filter", f"label=com.docker.compose.project={PROJECT}"),
        *("--filter", f"label=com.docker.compose.service={service}"),
    ).stdout.strip()


def signed_in(browser: Browser) -> bool:
    """Say whether the admin lets the browser in."""
    return "Site administration" in browser.get("/admin/").body


def test_bare_compose_up_needs_no_step_before_it(clone: Path) -> None:
    assert run(clone, "docker", "compose", "up", "--detach", "--wait").returncode == 0
    assert not (clone / "env" / "secrets.env").exists()
    stranger = Browser(SITE)
    stranger.login(*ADMIN)
    assert signed_in(stranger)
    assert run(clone, "make", "reset", "FORCE=1").returncode == 0


def test_up_says_where_to_go_and_the_login_works(clone: Path, browser: Browser) -> None:
    done = run(clone, "make", "up")
    assert done.returncode == 0
    assert f"{SITE}/admin/   admin@example.com / admin" in done.stdout
    assert "Runtime: docker" in done.stderr
    assert (clone / "env" / "secrets.env").stat().st_mode & 0o777 == 0o600
    browser.login(*ADMIN)
    assert signed_in(browser)


def test_up_again_is_harmless(clone: Path) -> None:
    before = container("web")
    secrets = (clone / "env" / "secrets.env").read_text()
    assert run(clone, "make", "up").returncode == 0
    assert container("web") == before
    assert (clone / "env" / "secrets.env").read_text() == secrets


def test_the_database_is_the_apps_own(clone: Path) -> None:
    """What docker/postgres/initdb.d/ promises; running it again, by hand, is harmless."""

    def sql(query: str) -> str:
        psql = 'psql "$DATABASE_URL" -tAc "$1"'
        return engine.run(
            "docker", "exec", container("postgres"), "sh", "-c", psql, "-", query
        ).stdout.strip()

    by_hand = "psql -qU postgres -f /docker-entrypoint-initdb.d/10-app.sql"
    engine.run("docker", "exec", container("postgres"), "sh", "-c", by_hand)
    role = "SELECT rolsuper, rolcreatedb, rolcanlogin FROM pg_roles WHERE rolname = current_user"
    assert sql(role) == "f|t|t"
    assert sql("SHOW server_encoding") == "UTF8"
    assert sql("SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'public'") == "methodhub"
    extensions = "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1"
    assert sql(extensions).split() == ["citext", "pg_trgm", "unaccent"]


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
    assert shown not in browser.get(page).body
    path.write_text(text.replace(old, new))
    wait_for(lambda: shown in browser.get(page).body, 10)
    path.write_text(text)
    wait_for(lambda: (answer := browser.get(page)).status == 200 and shown not in answer.body, 10)
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
    assert signed_in(browser)
    stranger = Browser(SITE)
    stranger.login(*ADMIN)
    assert signed_in(stranger)


def test_prodlike_serves_hashed_compressed_static_files_for_ever(browser: Browser) -> None:
    page = browser.get("/admin/").body
    sheet = re.search(r'href="(/static/admin/css/base\.[0-9a-f]{12}\.css)"', page)
    assert sheet, "no hashed name"
    for encoding in ("br", "gzip"):
        answer = browser.get(sheet[1], Accept_Encoding=encoding)
        assert answer.status == 200
        assert answer.headers["content-encoding"] == encoding
        assert answer.headers["cache-control"] == "max-age=315360000, public, immutable"


def test_prodlike_renders_every_page_with_the_real_manifest(browser: Browser) -> None:
    """Follow every link from / and the admin: a file missing in the manifest would be a 500."""
    waiting, seen = ["/", "/admin/"], set[str]()
    while waiting:
        path = waiting.pop().partition("#")[0]
        # A history of sorting and filtering has no end; signing out would.
        if path in seen or "?" in path or "/logout/" in path:
            continue
        seen.add(path)
        answer = browser.get(path)
        assert answer.status in (200, 302), path
        if "text/html" in answer.headers.get("content-type", ""):
            waiting += re.findall(r'(?:href|src)="(/[^"]*)"', answer.body)
    for page in ("accounts/user/add", "accounts/user/1/change", "auth/group/add"):
        assert f"/admin/{page}/" in seen
    assert any(path.endswith(".js") for path in seen)


def test_prodlike_runs_without_debug(browser: Browser) -> None:
    answer = browser.get("/no-such-page/")
    assert answer.status == 404
    assert "DEBUG" not in answer.body
    assert "djdt" not in browser.get("/").body.lower()


def test_prodlike_image_holds_no_debug_package() -> None:
    program = "import importlib.metadata as m; print(*(d.name.lower() for d in m.distributions()))"
    listed = engine.run("docker", "run", "--rm", f"{PROJECT}-ecs", "python", "-c", program).stdout
    packages = set(listed.split())
    assert {"django", "gunicorn", "psycopg-c"} <= packages
    debug = {"django-debug-toolbar", "django-browser-reload", "django-watchfiles"}
    assert not packages & (debug | {"pytest", "ruff", "uv", "pip"})


def test_replicas_share_sessions(clone: Path, browser: Browser) -> None:
    done = run(clone, "make", "up-prodlike", "REPLICAS=2")
    assert done.returncode == 0
    other = Browser(f"http://localhost:{WEB_PORT + 1}")
    assert other.base in done.stdout
    other.cookies = dict(browser.cookies)
    assert signed_in(other)
    assert len(container("web").split()) == 2
    assert run(clone, "make", "up-prodlike").returncode == 0
    assert len(container("web").split()) == 1
    assert signed_in(browser)
    wrong = run(clone, "make", "up-prodlike", "REPLICAS=some")
    assert wrong.returncode != 0
    assert "REPLICAS=3" in wrong.stderr


@pytest.mark.parametrize("how", ["down", "kill"])
def test_rows_survive(clone: Path, how: str) -> None:
    assert run(clone, "make", "fixtures").returncode == 0
    if how == "down":
        assert run(clone, "make", "down").returncode == 0
        assert container("postgres") == ""
    else:
        engine.run("docker", "kill", container("postgres"))
    assert run(clone, "make", "up").returncode == 0
    stranger = Browser(SITE)
    stranger.login("ada@example.com", "demonstration")
    assert signed_in(stranger)


def names(clone: Path) -> set[str]:
    """Return the users' names, as the database has them."""
    query = "SELECT name FROM accounts_user WHERE name <> ''"
    return set(
        engine.run(
            *("docker", "exec", container("postgres"), "sh", "-c"),
            *('psql "$DATABASE_URL" -tAc "$1"', "-", query),
        ).stdout.split()
    )


def rename(name: str) -> None:
    """Change Ada's name behind the site's back."""
    query = f"UPDATE accounts_user SET name = '{name}' WHERE email = 'ada@example.com'"
    psql = 'psql "$DATABASE_URL" -qc "$1"'
    engine.run("docker", "exec", container("postgres"), "sh", "-c", psql, "-", query)


def test_snapshot_comes_back_while_web_runs(clone: Path, browser: Browser) -> None:
    assert run(clone, "make", "db-snapshot", "NAME=before").returncode == 0
    rename("Changed")
    again = run(clone, "make", "db-snapshot", "NAME=before")
    assert again.returncode != 0
    assert "FORCE=1" in again.stderr
    assert "before" in run(clone, "make", "db-snapshots").stdout
    assert run(clone, "make", "db-restore", "NAME=before").returncode == 0
    assert "Ada" in names(clone)
    assert "Changed" not in names(clone)
    browser.login(*ADMIN)
    wait_for(lambda: signed_in(browser), 5)
    assert run(clone, "make", "db-drop-snapshot", "NAME=before").returncode == 0
    gone = run(clone, "make", "db-restore", "NAME=before")
    assert gone.returncode != 0
    assert "make db-snapshots" in gone.stderr


def test_dump_and_load(clone: Path, tmp_path: Path) -> None:
    file = tmp_path / "methodhub.dump"
    assert run(clone, "make", "db-dump", f"FILE={file}").returncode == 0
    assert "FORCE=1" in run(clone, "make", "db-dump", f"FILE={file}").stderr
    rename("Changed")
    assert "FORCE=1" in run(clone, "make", "db-load", f"FILE={file}").stderr
    assert "Changed" in names(clone)
    assert run(clone, "make", "db-load", f"FILE={file}", "FORCE=1").returncode == 0
    assert "Ada" in names(clone)
    assert "No migrations to apply" in run(clone, "make", "migrate").stdout
    (tmp_path / "broken.dump").write_bytes(file.read_bytes()[:-2000])
    broken = run(clone, "make", "db-load", f"FILE={tmp_path / 'broken.dump'}", "FORCE=1")
    assert broken.returncode != 0
    assert "the database is as it was" in broken.stderr
    assert "Ada" in names(clone)


def test_a_volume_with_another_password_is_told_of(clone: Path) -> None:
    services = clone / "env" / "backing-services.env"
    before = services.read_text()
    services.write_text(before.replace("methodhub-local@", "another@"))
    done = run(clone, "make", "up")
    services.write_text(before)
    assert done.returncode != 0
    assert "password" in done.stdout + done.stderr
    assert "make reset" in done.stdout + done.stderr
    assert "another@" not in done.stdout + done.stderr
    assert run(clone, "make", "up").returncode == 0


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


def test_a_volume_of_another_major_is_told_of(clone: Path) -> None:
    volume = (
        "docker",
        "run",
        "--rm",
        "--volume",
        f"{PROJECT}_postgres-data:/v",
        "redis:8",
        "sh",
        "-c",
    )
    engine.run(*volume, "rm -r /v/18 && mkdir -p /v/17/docker && echo 17 >/v/17/docker/PG_VERSION")
    done = run(clone, "make", "up")
    assert done.returncode != 0
    assert "PostgreSQL 17" in done.stdout + done.stderr
    assert "make reset" in done.stdout + done.stderr

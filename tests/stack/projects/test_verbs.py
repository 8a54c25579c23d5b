"""The make targets in a fresh copy of the project, from outside.

The tests run in order on one copy: each continues where the previous one ended.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack import engine
from scripts.stack.clone import Clone
from scripts.stack.engine import Browser, wait_for

PROJECT = f"{engine.PROJECT}-verbs"
WEB_PORT = 8750
SITE = f"http://localhost:{WEB_PORT}"
ADMIN = ("admin@example.com", "admin")
REPLICAS = "make up-prodlike REPLICAS=3"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A fresh clone, removed with its stack at the end."""
    clone = Clone(tmp_path_factory.mktemp("newcomer") / "methodhub", PROJECT, WEB_PORT)
    yield clone
    clone.remove()


@pytest.fixture(scope="module")
def browser() -> Browser:
    """One user's browser, kept for the whole module."""
    return Browser(SITE)


def signed_in(browser: Browser) -> bool:
    """Return whether the browser is signed in to the admin."""
    return "Site administration" in browser.get("/admin/").body


def test_bare_compose_up_works_in_fresh_clone(clone: Clone) -> None:
    assert clone.run("docker", "compose", "up", "--detach", "--wait").returncode == 0
    assert not (clone.folder / "env" / "secrets.env").exists()
    stranger = Browser(SITE)
    stranger.login(*ADMIN)
    assert signed_in(stranger)
    assert clone.run("make", "reset", "FORCE=1").returncode == 0


def test_up_prints_urls_and_working_login(clone: Clone, browser: Browser) -> None:
    done = clone.run("make", "up")
    assert done.returncode == 0
    assert f"{SITE}/admin/   admin@example.com / admin" in done.stdout
    assert "Runtime: docker" in done.stderr
    assert (clone.folder / "env" / "secrets.env").stat().st_mode & 0o777 == 0o600
    browser.login(*ADMIN)
    assert signed_in(browser)


def test_second_up_changes_nothing(clone: Clone) -> None:
    before = clone.container("web")
    secrets = (clone.folder / "env" / "secrets.env").read_text()
    done = clone.run("make", "up")
    assert done.returncode == 0
    assert "Built" not in done.stderr
    assert clone.container("web") == before
    assert (clone.folder / "env" / "secrets.env").read_text() == secrets


def test_up_builds_a_changed_image(clone: Clone) -> None:
    dockerfile = clone.folder / "docker" / "Dockerfile"
    before = dockerfile.read_text()
    dockerfile.write_text(before.replace("ENV TARGET=dev", "ENV ADDED=here TARGET=dev"))
    assert clone.run("make", "up").returncode == 0
    added = ("docker", "exec", clone.container("web"), "printenv", "ADDED")
    assert engine.run(*added).stdout.strip() == "here"
    dockerfile.write_text(before)
    assert clone.run("make", "up").returncode == 0
    added = ("docker", "exec", clone.container("web"), "printenv", "ADDED")
    assert engine.run(*added, check=False).stdout == ""
    engine.run("docker", "rmi", "--force", f"{PROJECT}-dev")
    assert "Built" in clone.run("make", "up").stderr


def test_up_migrates_a_changed_database(clone: Clone, browser: Browser) -> None:
    clone.sql("DELETE FROM django_migrations WHERE app = 'sessions'; DROP TABLE django_session")
    assert clone.run("make", "up").returncode == 0
    assert clone.sql("SELECT to_regclass('django_session')") == "django_session"
    # The table held the browser's session.
    browser.cookies.clear()
    browser.login(*ADMIN)
    assert signed_in(browser)


def test_up_creates_a_missing_superuser(clone: Clone) -> None:
    clone.sql("UPDATE accounts_user SET email = 'former@example.com'")
    assert clone.run("make", "up").returncode == 0
    assert clone.sql("SELECT count(*) FROM accounts_user WHERE email = 'admin@example.com'") == "1"
    clone.sql("DELETE FROM accounts_user WHERE email = 'admin@example.com'")
    clone.sql("UPDATE accounts_user SET email = 'admin@example.com'")


def test_up_migrates_after_a_change_of_the_code(clone: Clone) -> None:
    migration = clone.folder / "src/accounts/migrations/9999_added.py"
    migration.write_text(
        "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n"
        f"    dependencies = [('accounts', '{last_migration(clone)}')]\n"
    )
    assert clone.run("make", "up").returncode == 0
    added = "SELECT count(*) FROM django_migrations WHERE name = '9999_added'"
    assert clone.sql(added) == "1"
    migration.unlink()
    clone.sql("DELETE FROM django_migrations WHERE name = '9999_added'")


def last_migration(clone: Clone) -> str:
    """Return the name of the newest migration of accounts."""
    return max(path.stem for path in clone.folder.glob("src/accounts/migrations/0*.py"))


def test_owner_and_web_have_roles_of_their_own(clone: Clone) -> None:
    """docker/postgres/initdb.d/ creates the roles and may be run again by hand."""
    by_hand = "psql -qU postgres -f /docker-entrypoint-initdb.d/10-app.sql"
    engine.run("docker", "exec", clone.container("postgres"), "sh", "-c", by_hand)
    attributes = (
        "SELECT rolname, rolsuper, rolcreatedb FROM pg_roles WHERE rolname ~ '^m' ORDER BY 1"
    )
    assert clone.sql(attributes) == "methodhub|f|f\nmethodhub_owner|f|t"
    assert clone.sql("SHOW server_encoding") == "UTF8"
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    assert clone.sql(owners) == "methodhub_owner"
    sessions = (
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name ~ '^methodhub-'"
    )
    assert clone.sql(sessions) == "methodhub"
    extensions = "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1"
    assert clone.sql(extensions).split() == ["citext", "pg_trgm", "unaccent"]


EDITS = {
    # Edit: file, old text, new text, page that shows the edit, text on that page.
    "view": (
        "home/views.py",
        "Service(name, current,",
        "Service(name + ' seen', current,",
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
def test_edit_shows_without_restart(clone: Clone, browser: Browser, edit: str) -> None:
    file, old, new, page, shown = EDITS[edit]
    path = clone.folder / "src" / file
    before, text = clone.container("web"), path.read_text()
    assert old in text
    assert shown not in browser.get(page).body
    path.write_text(text.replace(old, new))
    wait_for(lambda: shown in browser.get(page).body, 30)
    path.write_text(text)
    wait_for(lambda: (answer := browser.get(page)).status == 200 and shown not in answer.body, 30)
    assert clone.container("web") == before


def test_makemigrations_writes_files_owned_by_host_user(clone: Clone) -> None:
    model = clone.folder / "src" / "accounts" / "models.py"
    before = model.read_text()
    field = "    nick = models.CharField(max_length=9, default='')\n"
    model.write_text(before.replace("    is_active =", field + "    is_active ="))
    identity, environ = (os.getuid(), os.getgid()), {}
    if os.getuid() == 0:
        # An id that is not root and that no image defines.
        identity, environ = (12345, 12346), {"HOME": str(clone.folder)}
        give(clone, *identity)
        # pytest's own folders: three, or four in a process of pytest-xdist.
        for parent in list(clone.folder.parents)[:4]:
            parent.chmod(parent.stat().st_mode | 0o055)
    command = ("make", "makemigrations", "ARGS=accounts -n nick")
    assert clone.run(*command, identity=identity if environ else None, **environ).returncode == 0
    (made,) = clone.folder.glob("src/accounts/migrations/*_nick.py")
    assert "nick" in made.read_text()
    assert (made.stat().st_uid, made.stat().st_gid) == identity
    made.unlink()
    model.write_text(before)
    give(clone, os.getuid(), os.getgid())


def give(clone: Clone, user: int, group: int) -> None:
    """Change the owner of the clone's files."""
    for path in [clone.folder, *clone.folder.rglob("*")]:
        os.chown(path, user, group)


def test_up_prodlike_keeps_backing_services_and_sessions(clone: Clone, browser: Browser) -> None:
    services = clone.container("postgres"), clone.container("redis")
    done = clone.run("make", "up-prodlike")
    assert done.returncode == 0
    assert SITE in done.stdout
    architecture = engine.run("docker", "version", "--format", "{{.Server.Arch}}").stdout.strip()
    named = {"amd64": "X86_64", "arm64": "ARM64"}[architecture]
    assert f"ECS needs runtimePlatform.cpuArchitecture {named}" in done.stdout
    assert (clone.container("postgres"), clone.container("redis")) == services
    assert signed_in(browser)
    stranger = Browser(SITE)
    stranger.login(*ADMIN)
    assert signed_in(stranger)


def test_up_prodlike_recreates_changed_backing_services_with_their_ports(clone: Clone) -> None:
    postgres, redis = clone.container("postgres"), clone.container("redis")
    clone.replace("compose.base.yml", '"128mb"', '"129mb"')
    assert clone.run("make", "up-prodlike").returncode == 0
    assert clone.container("redis") not in ("", redis)
    assert clone.container("postgres") == postgres
    published = engine.run("docker", "port", clone.container("redis"), "6379").stdout.strip()
    assert published == f"127.0.0.1:{WEB_PORT + 11}"
    clone.replace("compose.base.yml", '"129mb"', '"128mb"')


def test_prodlike_serves_hashed_compressed_immutable_static_files(browser: Browser) -> None:
    page = browser.get("/admin/").body
    sheet = re.search(r'href="(/static/admin/css/base\.[0-9a-f]{12}\.css)"', page)
    assert sheet, "no hashed name"
    for encoding in ("br", "gzip"):
        answer = browser.get(sheet[1], Accept_Encoding=encoding)
        assert answer.status == 200
        assert answer.headers["content-encoding"] == encoding
        assert answer.headers["cache-control"] == "max-age=315360000, public, immutable"


def test_prodlike_renders_every_page_with_real_manifest(browser: Browser) -> None:
    """Follow every link from / and the admin; a file missing from the manifest causes a 500."""
    waiting, seen = ["/", "/admin/"], set[str]()
    while waiting:
        path = waiting.pop().partition("#")[0]
        # Sort and filter links are endless; the logout link would end the session.
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


def test_prodlike_image_has_no_debug_packages() -> None:
    program = "import importlib.metadata as m; print(*(d.name.lower() for d in m.distributions()))"
    listed = engine.run("docker", "run", "--rm", f"{PROJECT}-ecs", "python", "-c", program).stdout
    packages = set(listed.split())
    assert {"django", "gunicorn", "psycopg-c"} <= packages
    debug = {"django-debug-toolbar", "django-browser-reload", "django-watchfiles"}
    assert not packages & (debug | {"pytest", "ruff", "uv", "pip"})


def test_replicas_share_sessions(clone: Clone, browser: Browser) -> None:
    done = clone.run(*REPLICAS.split(), "WORKER_REPLICAS=2")
    assert done.returncode == 0
    assert len(clone.container("worker").split()) == 2
    listed = clone.run("make", "ps").stdout
    assert f"{PROJECT}-worker-2" in listed
    assert listed.count("(healthy)") == 7
    for port in (WEB_PORT + 1, WEB_PORT + 2):
        other = Browser(f"http://localhost:{port}")
        assert other.base in done.stdout
        other.cookies = dict(browser.cookies)
        assert signed_in(other)
    assert len(clone.container("web").split()) == 3
    assert clone.run("make", "up-prodlike").returncode == 0
    assert len(clone.container("web").split()) == len(clone.container("worker").split()) == 1
    assert signed_in(browser)
    for variable in ("REPLICAS", "WORKER_REPLICAS"):
        wrong = clone.run("make", "up-prodlike", f"{variable}=some")
        assert wrong.returncode != 0
        assert f"for example {variable}=3" in wrong.stderr


# Prints the status of a task that the worker ran.
RUN_TASK = """
import time
from background.tasks import run_command
result = run_command.enqueue("clearsessions")
while not result.is_finished:
    time.sleep(0.1)
    result.refresh()
print(result.status)
"""
WITHOUT_TLS = """
SELECT count(*) FILTER (WHERE NOT ssl) || ' of ' || count(*) FROM pg_stat_ssl
JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL
"""


def test_tls_serves_pages_sign_in_and_tasks(clone: Clone, browser: Browser) -> None:
    done = clone.run("make", "up-prodlike", "TLS=1")
    assert done.returncode == 0
    assert signed_in(browser)
    stranger = Browser(SITE)
    stranger.login(*ADMIN)
    assert signed_in(stranger)
    ready = stranger.get("/readyz")
    assert (ready.status, ready.json()["redis"]) == (200, "up")
    web = clone.container("web")
    task = engine.run("docker", "exec", web, "python", "manage.py", "shell", "-v0", "-c", RUN_TASK)
    assert task.stdout.split() == ["SUCCESSFUL"]
    assert re.fullmatch(r"0 of [1-9]\d*", clone.sql(WITHOUT_TLS))
    # The verbs use the same connections.
    assert clone.run("make", "redis-cli").returncode == 0
    assert "Run make up first" in clone.run("make", "makemigrations").stderr


def test_tls_services_refuse_plain_connections_and_other_authorities(clone: Clone) -> None:
    plain = 'psql "$DATABASE_URL?sslmode=disable"'
    postgres = clone.container("postgres")
    refused = engine.run("docker", "exec", postgres, "sh", "-c", plain, check=False)
    assert "no encryption" in refused.stderr
    redis = engine.run("docker", "exec", clone.container("redis"), "redis-cli", "ping", check=False)
    assert "PONG" not in redis.stdout
    other = "DATABASE_SSLROOTCERT=/etc/ssl/certs/ca-certificates.crt"
    command = ("run", "--rm", "--no-deps", "--env", other, "migrate")
    migrate = clone.run("sh", "scripts/compose", "running", *command)
    assert migrate.returncode == 1
    assert "PostgreSQL's certificate is signed by an unknown authority." in migrate.stderr


@pytest.mark.parametrize("how", ["down", "kill"])
def test_rows_survive_down_and_kill(clone: Clone, how: str) -> None:
    assert clone.run("make", "fixtures").returncode == 0
    if how == "down":
        assert clone.run("make", "down").returncode == 0
        assert clone.container("postgres") == ""
        # Of dev's networks too, although the ecs target ran.
        label = f"label=com.docker.compose.project={PROJECT}"
        assert engine.run("docker", "network", "ls", "--quiet", "--filter", label).stdout == ""
    else:
        engine.run("docker", "kill", clone.container("postgres"))
    assert clone.run("make", "up").returncode == 0
    stranger = Browser(SITE)
    stranger.login("ada@example.com", "demonstration")
    assert signed_in(stranger)


def names(clone: Clone) -> set[str]:
    """Return the users' names from the database."""
    return set(clone.sql("SELECT name FROM accounts_user WHERE name <> ''").split())


def rename(clone: Clone, name: str) -> None:
    """Change Ada's name directly in the database."""
    clone.sql(f"UPDATE accounts_user SET name = '{name}' WHERE email = 'ada@example.com'")


def test_snapshot_restores_while_web_runs(clone: Clone, browser: Browser) -> None:
    assert clone.run("make", "db-snapshot", "NAME=before").returncode == 0
    rename(clone, "Changed")
    again = clone.run("make", "db-snapshot", "NAME=before")
    assert again.returncode != 0
    assert "FORCE=1" in again.stderr
    assert "before" in clone.run("make", "db-snapshots").stdout
    assert clone.run("make", "db-restore", "NAME=before").returncode == 0
    assert "Ada" in names(clone)
    assert "Changed" not in names(clone)
    browser.login(*ADMIN)
    wait_for(lambda: signed_in(browser), 30)
    assert clone.run("make", "db-drop-snapshot", "NAME=before").returncode == 0
    gone = clone.run("make", "db-restore", "NAME=before")
    assert gone.returncode != 0
    assert "make db-snapshots" in gone.stderr


def test_load_restores_a_dump_and_rejects_a_broken_one(clone: Clone, tmp_path: Path) -> None:
    file = tmp_path / "methodhub.dump"
    assert clone.run("make", "db-dump", f"FILE={file}").returncode == 0
    assert "FORCE=1" in clone.run("make", "db-dump", f"FILE={file}").stderr
    rename(clone, "Changed")
    assert "FORCE=1" in clone.run("make", "db-load", f"FILE={file}").stderr
    assert "Changed" in names(clone)
    assert clone.run("make", "db-load", f"FILE={file}", "FORCE=1").returncode == 0
    assert "Ada" in names(clone)
    assert "No migrations to apply" in clone.run("make", "migrate").stdout
    (tmp_path / "broken.dump").write_bytes(file.read_bytes()[:-2000])
    broken = clone.run("make", "db-load", f"FILE={tmp_path / 'broken.dump'}", "FORCE=1")
    assert broken.returncode != 0
    assert "The database is unchanged" in broken.stderr
    assert "Ada" in names(clone)


def test_make_test_runs_one_file(clone: Clone) -> None:
    done = clone.run("make", "test", "T=tests/home/test_home.py")
    assert done.returncode == 0
    assert re.search(r"=+ \d+ passed", done.stdout)


def test_reset_without_force_deletes_nothing(clone: Clone) -> None:
    done = clone.run("make", "reset")
    assert done.returncode != 0
    assert "FORCE=1" in done.stderr
    assert clone.container("postgres")


def test_down_stops_all_services(clone: Clone) -> None:
    assert clone.run("make", "down").returncode == 0
    assert [clone.container(service) for service in ("web", "postgres", "redis")] == ["", "", ""]

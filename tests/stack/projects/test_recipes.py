"""Runs the recipes of ARCHITECTURE.md, as they are written there, in one fresh clone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest

from scripts.stack import engine
from scripts.stack.clone import Clone
from scripts.stack.engine import Browser, wait_for
from tests.stack.projects.test_verbs import REPLICAS

PROJECT = f"{engine.PROJECT}-recipes"
WEB_PORT = 8850
SECTION = (engine.ROOT / "ARCHITECTURE.md").read_text().split("\n## How to add …\n")[1]
RECIPES = dict(re.findall(r"^### … (.+?)\n(.*?)(?=^### |\Z)", SECTION, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A fresh clone with a running dev stack. Both are removed at the end."""
    clone = Clone(tmp_path_factory.mktemp("recipes") / "methodhub", PROJECT, WEB_PORT)
    assert clone.run("make", "up").returncode == 0
    yield clone
    clone.remove()


def follow(clone: Clone, recipe: str) -> None:
    """Run the recipe's commands, apply its diffs and create its files, in their order."""
    for language, block in BLOCK.findall(RECIPES[recipe]):
        if language == "sh":
            for line in block.splitlines():
                assert clone.run("sh", "-euc", line).returncode == 0
        elif language == "diff":
            for name, lines in re.findall(r"^--- (.+)\n((?:(?!--- ).*\n)+)", block, re.MULTILINE):
                apply(clone, name, lines.splitlines())
        else:
            name, content = re.fullmatch(r"# (\S+)\n(.*)", block, re.DOTALL).groups()  # type: ignore[union-attr]
            file = clone.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)


def apply(clone: Clone, name: str, lines: list[str]) -> None:
    """Change the lines of a file as a diff says; its context must occur exactly once."""
    file = clone.folder / name
    # An empty line of the context may have lost its leading space.
    old = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
    new = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
    text = file.read_text()
    assert text.count(old) == 1, f"{name} does not contain exactly once:\n{old}"
    file.write_text(text.replace(old, new))


def test_every_recipe_is_tested() -> None:
    assert set(RECIPES) == {
        "an app",
        "an asynchronous view",
        "an MCP server",
        "a variable",
        "a backing service",
        "replicas",
    }


def test_app_recipe_serves_a_tested_page(clone: Clone) -> None:
    follow(clone, "an app")
    browser = Browser(clone.site)
    wait_for(lambda: "Things" in browser.get("/things/").body, 30)


def test_asynchronous_view_recipe_keeps_the_site_running(clone: Clone) -> None:
    follow(clone, "an asynchronous view")
    setting = "from django.conf import settings; print(settings.ASYNC_PATH_PREFIXES)"
    command = ("make", "manage", f"CMD=shell -v0 -c '{setting}'")
    assert "('/events/',)" in clone.run(*command).stdout
    wait_for(lambda: Browser(clone.site).get("/").status == 200, 30)


# Creates the access token "secret" for a server.
CREATE_TOKEN = """
from django.utils.timezone import now, timedelta
from oauth2_provider.models import AccessToken, Application
AccessToken.objects.create(
    token="secret", user=User.objects.first(), application=Application.objects.create(name="one"),
    expires=now() + timedelta(hours=1), scope="mcp", resource=["{url}"],
)
"""


def test_mcp_server_recipe_serves_a_tool(clone: Clone) -> None:
    follow(clone, "an MCP server")
    code = CREATE_TOKEN.format(url=f"{clone.site}/mcp/things")
    web = clone.container("web")
    engine.run("docker", "exec", web, "python", "manage.py", "shell", "-v0", "-c", code)
    client = Browser(
        clone.site,
        {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Authorization": "Bearer secret",
        },
    )
    question = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
    wait_for(lambda: "count_users" in client.send("POST", "/mcp/things", question).body, 30)


def test_variable_recipe_declares_and_documents_the_variable(clone: Clone) -> None:
    follow(clone, "a variable")
    assert re.search(r"^PAGE_SIZE +20 +default ", clone.run("make", "env").stdout, re.MULTILINE)
    assert "`PAGE_SIZE`" in (clone.folder / "docs/configuration.md").read_text()


def test_backing_service_recipe_starts_the_service_and_sets_its_url(clone: Clone) -> None:
    follow(clone, "a backing service")
    queue = clone.container("queue")
    assert engine.run("docker", "exec", queue, "redis-cli", "ping").stdout == "PONG\n"
    url = "import os; print(os.environ['QUEUE_URL'])"
    web = clone.container("web")
    assert engine.run("docker", "exec", web, "python", "-c", url).stdout.startswith("redis://queue")
    assert "`QUEUE_URL`" in (clone.folder / "docs/configuration.md").read_text()


def test_code_of_all_recipes_is_lint_clean(clone: Clone) -> None:
    # kingfisher's compiled rules, a quarter of the processor time. mypy checks everything again
    # after a change of INSTALLED_APPS.
    rules = ".local/cache/kingfisher"
    if (engine.ROOT / rules).exists():
        shutil.copytree(engine.ROOT / rules, clone.folder / rules)
    assert clone.run("make", "lint").returncode == 0


def test_replicas_recipe_is_the_command_that_test_verbs_runs() -> None:
    assert BLOCK.findall(RECIPES["replicas"]) == [("sh", f"{REPLICAS}\n")]

"""The repository's files agree with the contract, and only one module reads os.environ."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands, load_command_class

from environment.contract import CONTRACT
from environment.documents import documents
from environment.reading import FILE_SUFFIX
from tests.environment.sound import ROOT


def _env_file(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    return dict(line.split("=", 1) for line in lines)


class _ComposeLoader(yaml.SafeLoader):
    """YAML with Compose's own tags, !reset and !override."""


_ComposeLoader.add_multi_constructor(
    "!",
    lambda loader, _tag, node: (
        loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else {}
    ),
)


def _compose_files() -> list[Path]:
    return [*ROOT.glob("compose*.y*ml"), *ROOT.glob("scripts/stack/compose*.y*ml")]


def test_compose_and_env_files_set_only_declared_variables() -> None:
    names: set[str] = set()
    for file in _compose_files():
        services: dict[str, Any] = yaml.load(file.read_text(), _ComposeLoader).get("services", {})  # noqa: S506
        for service in ("web", "migrate"):
            names |= set(services.get(service, {}).get("environment", {}))
    for path in ROOT.glob("env/*.env*"):
        # Only the postgres image reads this file.
        if path.name != "postgres.env":
            names |= set(_env_file(path))
    assert {"DATABASE_URL", "SECRET_KEY", "DEBUG"} <= names
    assert {name.removesuffix(FILE_SUFFIX) for name in names} - set(CONTRACT) == set()


def test_every_command_of_the_project_and_its_options_have_a_help_text() -> None:
    for path in ROOT.glob("src/*/management/commands/[a-z]*.py"):
        command = load_command_class(get_commands()[path.stem], path.stem)
        assert command.help, path
        for action in command.create_parser("manage.py", path.stem)._actions:
            assert action.help, (path, action.option_strings)


def test_generated_files_are_up_to_date() -> None:
    stale = [path.name for path, text in documents().items() if path.read_text() != text]
    assert stale == [], "run: make env ARGS=--write"


def test_generated_table_replaces_the_one_in_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = tmp_path / "docs/configuration.md"
    page.parent.mkdir()
    original = (ROOT / "docs/configuration.md").read_text()
    page.write_text(original.replace("| `SECRET_KEY` |", "| `FORMER` |"))
    monkeypatch.setattr("environment.documents.ROOT", tmp_path)
    assert documents()[page] == original


def test_every_example_file_is_generated() -> None:
    generated = {path for path in documents() if path.suffix == ".example"}
    assert generated == set(ROOT.glob("env/*.example"))


def test_configuration_page_lists_every_variable() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    assert [name for name in CONTRACT if f"| `{name}` |" not in page] == []


def _reads_environ(tree: ast.AST) -> bool:
    """Return whether code uses the environment, other than to set DJANGO_SETTINGS_MODULE."""
    allowed = {
        id(node.func.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "setdefault"
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value == "DJANGO_SETTINGS_MODULE"
    }
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr="environ" | "environb" | "getenv" | "getenvb"):
                if id(node) not in allowed:
                    return True
            case ast.ImportFrom(module="os" | "environs", names=names):
                if {"environ", "environb", "getenv", "getenvb", "env"} & {
                    alias.name for alias in names
                }:
                    return True
    return False


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.environ['X']",
        "import os; os.getenv('X')",
        "from os import environ",
        "import os as o; o.environ.get('X')",
        "import os; os.environ.setdefault('OTHER', '1')",
        "from environs import env",
    ],
)
def test_code_that_reads_the_environment_is_recognised(code: str) -> None:
    assert _reads_environ(ast.parse(code))


def test_only_reading_py_reads_the_environment() -> None:
    files = [*ROOT.glob("src/**/*.py"), ROOT / "docker/gunicorn.conf.py"]
    found = {path for path in files if _reads_environ(ast.parse(path.read_text()))}
    assert {str(path.relative_to(ROOT)) for path in found} <= {"src/environment/reading.py"}

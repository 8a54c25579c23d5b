"""The environment contract: what it accepts, and how a process takes it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
import yaml
from django.conf import settings
from django.core.management import call_command
from hypothesis import strategies as st

from environment.contract import (
    CONTRACT,
    EX_CONFIG,
    FILE_SUFFIX,
    Environment,
    load_or_exit,
    misspells,
    read_environment,
    table,
)
from environment.management.commands.env import documents
from tests import forked
from tests.environment.conftest import CANARY, SOUND

ROOT = settings.SRC.parent
# Every character that a URL cannot hold as it is, and some more.
PASSWORD = "/#?@%$:&= '\"\\+[]{}<>;ü€"


def environment(**changes: str) -> Environment:
    """Return what SOUND with the changes makes; it must have no problem."""
    reading = read_environment(SOUND | changes)
    assert reading.environment is not None, table(reading.problems)
    return reading.environment


# -- what it accepts ------------------------------------------------------------------------------


def test_options_of_the_database_url_reach_libpq() -> None:
    url = "postgres://u:p@h/d?sslmode=verify-full&connect_timeout=7&currentSchema=other"
    options = environment(DATABASE_URL=url).database()["OPTIONS"]
    assert options == {
        "sslmode": "verify-full",
        "connect_timeout": 7,
        "options": "-c search_path=other",
    }


def test_secret_of_rds_may_hold_more_than_is_needed() -> None:
    secret = {
        "engine": "postgres",
        "dbInstanceIdentifier": "one",
        "username": "app",
        "password": PASSWORD,
        "host": "one.eu-west-1.rds.amazonaws.com",
        "port": 5433,
        "dbname": "app",
    }
    changed = {name: value for name, value in SOUND.items() if name != "DATABASE_URL"}
    reading = read_environment(changed | {"DATABASE_SECRET": json.dumps(secret, indent=1) + "\n"})
    assert reading.environment is not None
    database = reading.environment.database()
    assert (database["PASSWORD"], database["PORT"]) == (PASSWORD, 5433)


def test_redis_may_be_behind_tls() -> None:
    assert environment(REDIS_URL="rediss://:p%2Fw@h:6380/1?ssl_cert_reqs=none")


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_any_variable_may_come_from_a_file(tmp_path: Path, end: str) -> None:
    for name, value in SOUND.items():
        file = tmp_path / name
        file.write_bytes((value + end).encode())
        changed = {key: text for key, text in SOUND.items() if key != name}
        reading = read_environment(changed | {name + FILE_SUFFIX: str(file)})
        assert reading.environment == environment()
        assert reading.sources[name] == f"{name}_FILE={file}"


def test_lists_may_hold_spaces() -> None:
    assert environment(ALLOWED_HOSTS="a.example, .b.example ,[::1]").ALLOWED_HOSTS == [
        "a.example",
        ".b.example",
        "[::1]",
    ]


def test_debug_pages_show_no_secret() -> None:
    """Django's debug page prints the repr of every setting, this one among them."""
    assert CANARY not in repr(environment(SECRET_KEY_FALLBACKS=CANARY * 3))


@pytest.mark.parametrize("form", ["DATABASE_URL", "DATABASE_SECRET"])
def test_awkward_passwords_connect(form: str) -> None:
    """A role with such a password, on the real server, through Django's own connection."""
    database = settings.DATABASES["default"]
    server = {"host": database["HOST"], "port": database["PORT"]}
    # The host runtime's server has a password of its own, and says it here.
    public = _env_file(ROOT / "env/postgres.env")["POSTGRES_PASSWORD"]
    superuser = os.environ.get("POSTGRES_PASSWORD", public)
    role = f"awkward_{os.getpid()}"
    given = {
        "DATABASE_SECRET": json.dumps(
            {"username": role, "password": PASSWORD, "dbname": "postgres"}
            | {"host": server["host"], "port": server["port"] or 5432}
        ),
        "DATABASE_URL": f"postgres://{role}:{_quote(PASSWORD)}@{server['host']}:"
        f"{server['port'] or 5432}/postgres",
    }
    connect = psycopg.connect(
        **server, user="postgres", password=superuser, dbname="postgres", autocommit=True
    )
    with connect as connection:
        connection.execute(
            psycopg.sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                psycopg.sql.Identifier(role), PASSWORD
            )
        )
        try:
            changed = {name: value for name, value in SOUND.items() if name != "DATABASE_URL"}
            done = _python(
                "-c",
                "import django; django.setup()\n"
                "from django.db import connection\n"
                "with connection.cursor() as cursor:\n"
                "    cursor.execute('SELECT current_user')\n"
                "    print(cursor.fetchone()[0])\n"
                "connection.close(); connection.close_pool()",
                **changed | {form: given[form], "DJANGO_SETTINGS_MODULE": "config.settings"},
            )
        finally:
            connection.execute(psycopg.sql.SQL("DROP ROLE {}").format(psycopg.sql.Identifier(role)))
    assert done.stdout.strip() == role, done.stderr


def _quote(password: str) -> str:
    return "".join(f"%{byte:02X}" for byte in password.encode())


# -- no environment does harm ---------------------------------------------------------------------

ODD = st.one_of(
    st.text(max_size=60),
    st.from_regex(r"(postgres|redis|rediss|smtps)://[^ ]{0,40}", fullmatch=True),
    st.sampled_from(
        ["true", "*", ",", "0", "-1", "1e400", "nan", "9" * 5000, "[" * 20_000, "\ud800"]
    ),
    st.dictionaries(
        st.sampled_from(["username", "password", "host", "port", "dbname"]),
        st.one_of(st.text(), st.none(), st.integers(), st.booleans(), st.lists(st.integers())),
    ).map(json.dumps),
)


@hypothesis.settings(deadline=None, database=None, max_examples=300)
@hypothesis.given(
    st.dictionaries(
        st.sampled_from([*CONTRACT, *(name + FILE_SUFFIX for name in CONTRACT), "LOG_LEVLE"]), ODD
    )
)
def test_no_environment_leads_to_a_traceback_or_shows_a_secret(changes: dict[str, str]) -> None:
    """Every secret holds the canary besides what is odd about it, and is printed nowhere."""
    odd = dict(SOUND)
    for name, value in changes.items():
        entry = CONTRACT.get(name.removesuffix(FILE_SUFFIX))
        odd[name] = value + CANARY if entry and entry.secret else value
    reading = read_environment(odd)
    shown = table(reading.problems) + repr(reading)
    assert CANARY not in shown
    if reading.environment is not None:
        reading.environment.database()
        assert not reading.problems
    else:
        assert reading.problems
        shown.encode()


# -- misspellings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("DATBASE_URL", "DATABASE_URL"),
        ("DATABASE_ULR", "DATABASE_URL"),
        ("ALLOWD_HOSTS", "ALLOWED_HOSTS"),
        ("LOG_LEVLE", "LOG_LEVEL"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("SECRET_KEYS", "SECRET_KEY"),
        ("REDIS_URI", "REDIS_URL"),
    ],
)
def test_misspelt_names_are_recognised(name: str, right: str) -> None:
    assert misspells(name, right)


# What shells, CI services, ECS, Datadog, Sentry, Node, Go and Rust put into environments.
ORDINARY = """
    PATH HOME HOSTNAME USER LOGNAME SHELL PWD OLDPWD SHLVL TERM LANG LC_ALL TZ EDITOR TMPDIR MAIL
    AWS_REGION AWS_DEFAULT_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
    AWS_EXECUTION_ENV AWS_CONTAINER_CREDENTIALS_RELATIVE_URI ECS_CONTAINER_METADATA_URI
    ECS_CONTAINER_METADATA_URI_V4 ECS_AGENT_URI ECS_ENABLE_CONTAINER_METADATA
    DD_LOG_LEVEL DD_LOG_FORMAT DD_ENV DD_TRACE_DEBUG OTEL_LOG_LEVEL TF_LOG_LEVEL UV_LOG_LEVEL
    RUST_LOG GOLOG_LOG_LEVEL NDEBUG XDEBUG DEBUGINFOD_URLS NODE_DEBUG SENTRY_DSN NODE_ENV
    DATABASE_USER DATABASE_NAME DATABASE_HOST DATABASE_PORT POSTGRES_URL PGDATABASE PGPASSWORD
    REDIS_HOST REDIS_PORT REDIS_TLS_URL APP_SECRET_KEY DJANGO_SECRET_KEY DJANGO_ALLOWED_HOSTS
    DJANGO_SETTINGS_MODULE PYTHONPATH PYTHONUNBUFFERED PYTHON_VERSION GPG_KEY VIRTUAL_ENV
    WEB_PORT PORTS SPORT HOST TARGETS TARGETARCH TARGETPLATFORM BUILD_ID BUILDKIT_HOST CI
    COMPOSE_PROJECT_NAME HOST_UID HOST_GID GUNICORN_CMD_ARGS MAKEFLAGS GITHUB_TOKEN RUNNER_DEBUG
"""


@pytest.mark.parametrize("missing", [name for name in CONTRACT if name not in SOUND])
def test_ordinary_names_are_taken_for_no_misspelling(missing: str) -> None:
    assert [name for name in ORDINARY.split() if misspells(name, missing)] == []
    assert not read_environment(SOUND | dict.fromkeys(ORDINARY.split(), "value")).problems


# -- the repository keeps to it -------------------------------------------------------------------


def _env_file(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    return dict(line.split("=", 1) for line in lines)


class _ComposeLoader(yaml.SafeLoader):
    """YAML with Compose's own tags, !reset and !override, which say nothing of the values."""


_ComposeLoader.add_multi_constructor(
    "!",
    lambda loader, _tag, node: (
        loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else {}
    ),
)


def _compose_files() -> list[Path]:
    return [*ROOT.glob("compose*.y*ml"), *ROOT.glob("scripts/stack/compose*.y*ml")]


def test_compose_gives_the_app_no_name_that_the_contract_lacks() -> None:
    names: set[str] = set()
    for file in _compose_files():
        services: dict[str, Any] = yaml.load(file.read_text(), _ComposeLoader).get("services", {})  # noqa: S506
        for service in ("web", "migrate"):
            names |= set(services.get(service, {}).get("environment", {}))
    for path in ROOT.glob("env/*.env*"):
        # The superuser's, which only the postgres image reads.
        if path.name != "postgres.env":
            names |= set(_env_file(path))
    assert {"DATABASE_URL", "SECRET_KEY", "DEBUG"} <= names
    assert {name.removesuffix(FILE_SUFFIX) for name in names} - set(CONTRACT) == set()


def test_documents_are_what_the_contract_makes_of_them() -> None:
    stale = [path.name for path, text in documents().items() if path.read_text() != text]
    assert stale == [], "run: make env ARGS=--write"


def test_every_example_is_made_from_the_contract() -> None:
    made = {path for path in documents() if path.suffix == ".example"}
    assert made == set(ROOT.glob("env/*.example"))


def test_the_readme_names_every_variable() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in CONTRACT if f"| `{name}` |" not in readme] == []


def _reads_environ(tree: ast.AST) -> bool:
    """Return whether code touches the environment other than by os.environ.setdefault(…)."""
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
def test_reading_the_environment_is_recognised(code: str) -> None:
    assert _reads_environ(ast.parse(code))


def test_only_the_contract_reads_the_environment() -> None:
    files = [*ROOT.glob("src/**/*.py"), ROOT / "docker/gunicorn.conf.py"]
    found = {path for path in files if _reads_environ(ast.parse(path.read_text()))}
    assert {str(path.relative_to(ROOT)) for path in found} <= {"src/environment/contract.py"}


# -- however Django starts ------------------------------------------------------------------------


def _python(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(settings.SRC)}
    return forked.run(*arguments, env=base | env, cwd=ROOT)


MANAGE = "src/manage.py"
EIGHT = SOUND | {
    "DATABASE_URL": f"postgres://app:{CANARY}/@postgres/app",
    "REDIS_URL": f"http://{CANARY}@redis",
    "SECRET_KEY": CANARY,
    "ALLOWED_HOSTS": "https://example.com",
    "DEBUG": "perhaps",
    "WORKERS": "many",
    "LOG_LEVEL": "LOUD",
    "HSTS_SECONDS": "",
}


@pytest.mark.parametrize(
    "command",
    [
        [MANAGE, "check"],
        [MANAGE, "migrate"],
        [MANAGE, "runserver", "127.0.0.1:1"],
        [MANAGE, "env"],
        ["-m", "gunicorn", "-c", "docker/gunicorn.conf.py", "config.asgi"],
        ["-m", "pytest", "tests/home"],
        ["-c", "import config.asgi"],
        ["-c", "import config.wsgi"],
    ],
    ids=["check", "migrate", "runserver", "env", "gunicorn", "pytest", "asgi", "wsgi"],
)
def test_eight_broken_variables_make_eight_rows_and_status_78(command: list[str]) -> None:
    done = _python(*command, **EIGHT)
    assert done.returncode == EX_CONFIG, done.stderr
    assert "The environment has 8 problems" in done.stderr
    rows = [line.split()[0] for line in done.stderr.splitlines() if line.split()]
    assert set(EIGHT) - {"TARGET"} <= set(rows)
    assert "Traceback" not in done.stdout + done.stderr
    assert CANARY not in done.stdout + done.stderr


def test_an_interpreter_of_its_own_starts() -> None:
    """The others are forked from one that has packages imported already: tests/forked.py."""
    done = subprocess.run(
        [sys.executable, MANAGE, "check"], env=SOUND, cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_nothing_is_served_with_the_values_of_a_build() -> None:
    done = _python("-m", "gunicorn", "-c", "docker/gunicorn.conf.py", "config.asgi", BUILD="true")
    assert done.returncode == EX_CONFIG
    assert "BUILD" in done.stderr


def test_a_build_needs_nothing() -> None:
    done = _python(MANAGE, "check", BUILD="true")
    assert done.returncode == 0, done.stderr


# -- manage.py env --------------------------------------------------------------------------------


def test_env_says_where_values_come_from_but_never_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SOUND["SECRET_KEY"])
    env = {name: value for name, value in SOUND.items() if name != "SECRET_KEY"}
    done = _python(MANAGE, "env", **env | {"SECRET_KEY_FILE": str(file), "LOG_LEVEL": "ERROR"})
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    assert lines["SECRET_KEY"][1:3] == ["set", f"SECRET_KEY_FILE={file}"]
    assert lines["LOG_LEVEL"][1:3] == ["ERROR", "environment"]
    assert lines["LOG_FORMAT"][1:3] == ["json", "default"]
    assert set(CONTRACT) <= set(lines)
    assert CANARY not in done.stdout


def test_env_lists_every_variable_when_nothing_else_starts() -> None:
    done = _python(MANAGE, "env", **EIGHT)
    assert done.returncode == EX_CONFIG
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    assert set(CONTRACT) <= set(lines)
    assert lines["LOG_LEVEL"][1] == "wrong"
    assert CANARY not in done.stdout


@pytest.mark.usefixtures("sound")
def test_env_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("env", "--json")
    output = capsys.readouterr().out
    variables = {entry["name"]: entry for entry in json.loads(output)["variables"]}
    assert variables["ALLOWED_HOSTS"]["value"] == "example.com"
    assert variables["DATABASE_URL"]["value"] == "set"
    assert CANARY not in output


@pytest.mark.usefixtures("sound")
def test_env_as_json_of_a_broken_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKERS", "many")
    with pytest.raises(SystemExit) as stopped:
        call_command("env", "--json")
    assert stopped.value.code == EX_CONFIG
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert [row["variable"] for row in problems] == ["WORKERS"]


@pytest.mark.usefixtures("sound")
def test_a_sound_environment_loads() -> None:
    assert load_or_exit() == environment()

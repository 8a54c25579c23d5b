"""Every process validates its environment when it starts; `manage.py env` prints it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from environment.contract import CONTRACT
from environment.declaration import Target
from environment.reading import EX_CONFIG
from environment.report import Problem, location, table
from tests.environment.sound import CANARY, ROOT, SOUND, python, without

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
def test_eight_invalid_variables_give_eight_rows_and_status_78(command: list[str]) -> None:
    done = python(*command, **EIGHT)
    assert done.returncode == EX_CONFIG, done.stderr
    assert "The environment has 8 problems" in done.stderr
    rows = [line.split()[0] for line in done.stderr.splitlines() if line.split()]
    assert set(EIGHT) - {"TARGET", "TRUSTED_PROXY_COUNT"} <= set(rows)
    assert "Traceback" not in done.stdout + done.stderr
    assert CANARY not in done.stdout + done.stderr


def test_new_interpreter_starts() -> None:
    """The other tests fork an interpreter that has packages imported (tests/forked.py)."""
    done = subprocess.run(
        [sys.executable, MANAGE, "check"], env=SOUND, cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_server_refuses_build_placeholders() -> None:
    done = python("-m", "gunicorn", "-c", "docker/gunicorn.conf.py", "config.asgi", BUILD="true")
    assert done.returncode == EX_CONFIG
    assert "BUILD" in done.stderr


def test_gunicorn_does_not_start_with_a_broken_urlconf(tmp_path: Path) -> None:
    settings = "from config.settings import *\nROOT_URLCONF = 'no_such_urls'\n"
    (tmp_path / "broken_settings.py").write_text(settings)
    changes = {"DJANGO_SETTINGS_MODULE": "broken_settings", "PYTHONPATH": f"src:{tmp_path}"}
    command = ("-m", "gunicorn", "-c", "docker/gunicorn.conf.py", "-b", "127.0.0.1:0")
    done = python(*command, "config.asgi", **SOUND | changes)
    assert done.returncode not in (None, 0)
    assert "No module named 'no_such_urls'" in done.stderr


def test_build_needs_no_other_variable() -> None:
    done = python(MANAGE, "check", BUILD="true")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("changes", "header"),
    [
        ({}, "max-age=3600; includeSubDomains"),
        ({"HSTS_INCLUDE_SUBDOMAINS": "false"}, "max-age=3600"),
        (
            {"HSTS_PRELOAD": "true", "HSTS_SECONDS": "31536000"},
            "max-age=31536000; includeSubDomains; preload",
        ),
    ],
)
def test_hsts_header_follows_its_variables(changes: dict[str, str], header: str) -> None:
    done = python(
        "-c",
        "import django; django.setup()\n"
        "from django.http import HttpResponse\n"
        "from django.middleware.security import SecurityMiddleware\n"
        "from django.test import RequestFactory\n"
        "request = RequestFactory().get('/', headers={'x-forwarded-proto': 'https'})\n"
        "response = SecurityMiddleware(lambda _request: HttpResponse())(request)\n"
        "print(response.headers['Strict-Transport-Security'])",
        DJANGO_SETTINGS_MODULE="config.settings",
        **SOUND | changes,
    )
    assert done.stdout.strip() == header, done.stderr


def test_problems_are_shown_in_a_table() -> None:
    """Without Django, which may not have started."""
    problems = [
        Problem("TARGET", "Wrong", "dev or ecs", "env/dev.env"),
        Problem("DEBUG", "Not a boolean.", "true"),
    ]
    assert table(problems) == (
        "The environment has 2 problems; nothing was started.\n\n"
        "Variable  What is wrong   Expected    Where it is set\n"
        "DEBUG     Not a boolean.  true\n"
        "TARGET    Wrong           dev or ecs  env/dev.env\n"
    )


@pytest.mark.parametrize(
    ("place", "target", "shown"),
    [
        ("image", "ecs", "the image (docker/Dockerfile)"),
        ("target", "dev", "env/dev.env"),
        ("target", "ecs", "env/ecs-local.env, or the task definition"),
        # The target itself is invalid.
        ("target", None, "env/ecs-local.env, or the task definition"),
        ("secrets", "dev", "env/secrets.env"),
        ("secrets", "ecs", "env/secrets.env, or the task definition"),
    ],
)
def test_problem_names_the_place_of_its_variable(
    place: str, target: Target | None, shown: str
) -> None:
    variable = next(variable for variable in CONTRACT.values() if variable.place == place)
    assert location(variable, "environment", target) == shown
    file = f"{variable.name}_FILE=/run/secrets/one"
    assert location(variable, file, target) == file


# -- manage.py env --------------------------------------------------------------------------------


def test_env_prints_sources_but_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SOUND["SECRET_KEY"])
    changes = {"SECRET_KEY_FILE": str(file), "LOG_LEVEL": "ERROR"}
    done = python(MANAGE, "env", **without("SECRET_KEY") | changes)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=4)[:4] == ["Variable", "Value", "From", "Meaning"]
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    assert lines["SECRET_KEY"][1:3] == ["set", f"SECRET_KEY_FILE={file}"]
    assert lines["LOG_LEVEL"][1:3] == ["ERROR", "environment"]
    assert lines["LOG_FORMAT"][1:3] == ["json", "default"]
    assert set(CONTRACT) <= set(lines)
    assert CANARY not in done.stdout


def test_env_lists_every_variable_of_an_invalid_environment() -> None:
    done = python(MANAGE, "env", **EIGHT)
    assert done.returncode == EX_CONFIG
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    assert set(CONTRACT) <= set(lines)
    assert lines["LOG_LEVEL"][1] == "wrong"
    assert CANARY not in done.stdout
    assert "has 8 problems" in done.stderr


@pytest.mark.usefixtures("sound")
def test_env_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("env", "--json")
    output = capsys.readouterr().out
    assert output.startswith('{\n  "variables": [\n')
    variables = {entry["name"]: entry for entry in json.loads(output)["variables"]}
    assert variables["ALLOWED_HOSTS"]["value"] == "example.com"
    assert variables["DATABASE_URL"]["value"] == "set"
    assert variables["DATABASE_URL"]["secret"] is True
    format_ = CONTRACT["LOG_FORMAT"]
    assert variables["LOG_FORMAT"] == {
        "name": "LOG_FORMAT",
        "expected": format_.expected,
        "default": "json",
        "secret": False,
        "required_in": [],
        "meaning": format_.meaning,
        "source": "default",
        "value": "json",
    }
    # Without a default.
    assert (variables["EMAIL_URL"]["default"], variables["EMAIL_URL"]["value"]) == (None, "")
    assert CANARY not in output


@pytest.mark.usefixtures("sound")
def test_env_prints_json_of_an_invalid_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKERS", "many")
    with pytest.raises(SystemExit) as stopped:
        call_command("env", "--json")
    assert stopped.value.code == EX_CONFIG
    printed = capsys.readouterr()
    assert printed.err == ""
    found = json.loads(printed.out)
    assert [row["variable"] for row in found["problems"]] == ["WORKERS"]
    assert [row["name"] for row in found["variables"] if row["value"] == "wrong"] == ["WORKERS"]


def test_env_writes_the_generated_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr("environment.management.commands.env.documents", lambda: {page: "é\n"})
    call_command("env", "--write")
    assert page.read_text(encoding="utf-8") == "é\n"


def test_env_that_cannot_write_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "none" / "page.md"
    monkeypatch.setattr("environment.management.commands.env.documents", lambda: {page: ""})
    with pytest.raises(CommandError, match=f"Cannot write the generated files: .*{page}"):
        call_command("env", "--write")

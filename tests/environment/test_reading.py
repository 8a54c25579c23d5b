"""Environments that the contract accepts, and secrets that it never prints."""

from __future__ import annotations

import json
import os
from pathlib import Path

import hypothesis
import psycopg
import pytest
from django.conf import settings
from hypothesis import strategies as st

from environment.contract import CONTRACT
from environment.cross_checks import misspells
from environment.reading import FILE_SUFFIX, load_or_exit, read_environment
from environment.report import table
from environment.services import database_settings, mailer_settings
from tests.environment.sound import CANARY, ROOT, SOUND, environment, python, without

# Every character that a URL must quote, and some more.
PASSWORD = "/#?@%$:&= '\"\\+[]{}<>;ü€"
RDS_SECRET = {
    "engine": "postgres",
    "dbInstanceIdentifier": "one",
    "username": "app",
    "password": PASSWORD,
    "host": "one.eu-west-1.rds.amazonaws.com",
    "port": 5433,
    "dbname": "app",
}


@pytest.mark.usefixtures("sound")
def test_valid_environment_loads() -> None:
    assert load_or_exit() == environment()


def test_options_in_database_url_reach_libpq() -> None:
    url = "postgres://u:p@h/d?sslmode=verify-full&connect_timeout=7&currentSchema=other"
    options = database_settings(environment(DATABASE_URL=url))["OPTIONS"]
    assert options == {
        "sslmode": "verify-full",
        "connect_timeout": 7,
        "options": "-c search_path=other",
    }


@pytest.mark.parametrize(
    "options",
    [
        "sslmode=require&sslnegotiation=direct",
        "gssencmode=require",
        "sslmode=verify-full&sslrootcert=system",
        "target_session_attrs=primary&keepalives_idle=30&tcp_user_timeout=5000",
        "sslrootcert=/etc/passwd",
    ],
)
def test_options_that_libpq_takes_are_accepted(options: str) -> None:
    assert environment(DATABASE_URL=f"postgres://u:p@h/d?{options}")


def test_rds_secret_may_have_further_keys() -> None:
    given = without("DATABASE_URL") | {"DATABASE_SECRET": json.dumps(RDS_SECRET, indent=1) + "\n"}
    assert database_settings(environment(given)) == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "app",
        "USER": "app",
        "PASSWORD": PASSWORD,
        "HOST": "one.eu-west-1.rds.amazonaws.com",
        "PORT": 5433,
        "OPTIONS": {},
    }


def test_rds_secret_without_a_port_means_postgresqls_own() -> None:
    secret = {name: value for name, value in RDS_SECRET.items() if name != "port"}
    given = without("DATABASE_URL") | {"DATABASE_SECRET": json.dumps(secret)}
    assert database_settings(environment(given))["PORT"] == 5432


def test_tls_variables_apply_to_rds_secret_and_url(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("any")
    tls = {"DATABASE_SSLMODE": "verify-full", "DATABASE_SSLROOTCERT": str(bundle)}
    secret = without("DATABASE_URL") | {"DATABASE_SECRET": json.dumps(RDS_SECRET)}
    url = SOUND | {"DATABASE_URL": "postgres://u:p@h/d?application_name=x"}
    expected = {"sslmode": "verify-full", "sslrootcert": str(bundle)}
    assert database_settings(environment(secret | tls))["OPTIONS"] == expected
    assert database_settings(environment(url | tls))["OPTIONS"] == expected | {
        "application_name": "x"
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"TARGET": "dev"},
        {"TARGET": "ecs", "TLS_IN_FRONT": "false"},
        {"TARGET": "ecs", "TRUSTED_PROXY_COUNT": "0"},
    ],
    ids=["dev target", "no TLS in front", "count of 0"],
)
def test_proxy_count_is_required_only_behind_tls_on_ecs(changes: dict[str, str]) -> None:
    assert environment(without("TRUSTED_PROXY_COUNT"), **changes)


def test_mcp_hub_needs_an_image_with_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment(MCP_HUB="true").MCP_HUB
    monkeypatch.setattr("environment.cross_checks.find_spec", lambda _name: None)
    (problem,) = read_environment(SOUND | {"MCP_HUB": "true"}).problems
    assert problem.variable == "MCP_HUB"
    assert "built without the MCP server" in problem.wrong
    assert not environment().MCP_HUB


def test_hsts_preload_is_off_unless_asked_for() -> None:
    assert environment().HSTS_PRELOAD is False
    assert environment(HSTS_PRELOAD="true", HSTS_SECONDS="31536000").HSTS_PRELOAD is True


def test_redis_url_may_use_tls() -> None:
    assert environment(REDIS_URL="rediss://:p%2Fw@h:6380/1?ssl_cert_reqs=none")


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_any_variable_can_come_from_a_file(tmp_path: Path, end: str) -> None:
    for name, value in SOUND.items():
        file = tmp_path / name
        file.write_bytes((value + end).encode())
        reading = read_environment(without(name) | {name + FILE_SUFFIX: str(file)})
        assert reading.environment == environment()
        assert reading.sources[name] == f"{name}_FILE={file}"


def test_spaces_around_list_entries_are_removed() -> None:
    assert environment(ALLOWED_HOSTS="a.example, .b.example ,[::1]").ALLOWED_HOSTS == [
        "a.example",
        ".b.example",
        "[::1]",
    ]


def test_repr_contains_no_secret() -> None:
    """Django's debug page prints the repr of every setting, and ENV is one."""
    assert CANARY not in repr(environment(SECRET_KEY_FALLBACKS=CANARY * 3))


@pytest.mark.parametrize("form", ["DATABASE_URL", "DATABASE_SECRET"])
def test_password_with_special_characters_connects(form: str) -> None:
    """Creates a role with such a password, and connects as Django does."""
    database = settings.DATABASES["default"]
    server = {"host": database["HOST"], "port": database["PORT"]}
    # The host runtime generates the password and passes it in this variable.
    committed = (ROOT / "env/postgres.env").read_text().partition("POSTGRES_PASSWORD=")[2].strip()
    superuser = os.environ.get("POSTGRES_PASSWORD", committed)
    role = f"special_{os.getpid()}"
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
            done = python(
                "-c",
                "import django; django.setup()\n"
                "from django.db import connection\n"
                "with connection.cursor() as cursor:\n"
                "    cursor.execute('SELECT current_user')\n"
                "    print(cursor.fetchone()[0])\n"
                "connection.close(); connection.close_pool()",
                **without("DATABASE_URL")
                | {form: given[form], "DJANGO_SETTINGS_MODULE": "config.settings"},
            )
        finally:
            connection.execute(psycopg.sql.SQL("DROP ROLE {}").format(psycopg.sql.Identifier(role)))
    assert done.stdout.strip() == role, done.stderr


def _quote(password: str) -> str:
    return "".join(f"%{byte:02X}" for byte in password.encode())


# -- any environment ------------------------------------------------------------------------------

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
def test_no_environment_raises_or_prints_a_secret(changes: dict[str, str]) -> None:
    """Every secret contains the canary, which must not be printed."""
    odd = dict(SOUND)
    for name, value in changes.items():
        entry = CONTRACT.get(name.removesuffix(FILE_SUFFIX))
        odd[name] = value + CANARY if entry and entry.secret else value
    reading = read_environment(odd)
    printed = table(reading.problems) + repr(reading)
    assert CANARY not in printed
    if reading.environment is not None:
        database_settings(reading.environment)
        mailer_settings(reading.environment)
        assert not reading.problems
    else:
        assert reading.problems
        printed.encode()


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
def test_misspelt_name_is_recognised(name: str, right: str) -> None:
    assert misspells(name, right)


# Variables that shells, CI services, ECS, Datadog, Sentry, Node, Go and Rust set.
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
def test_unrelated_names_are_not_reported_as_misspellings(missing: str) -> None:
    assert [name for name in ORDINARY.split() if misspells(name, missing)] == []
    assert not read_environment(SOUND | dict.fromkeys(ORDINARY.split(), "value")).problems

"""Invalid environments end with status 78 and one row that names the problem and the remedy.

Problems outside of the environment are in tests/doctor/.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from environment.reading import EX_CONFIG, MAX_VALUE_SIZE, load_or_exit
from tests.environment.sound import CANARY

RDS = {"username": "app", "password": CANARY, "host": "db", "port": 5432, "dbname": "app"}
KEY = "SECRET_KEY"
KEY_FORM = "text of 50 characters or more"
URL_FORM = "postgres://user:password@host:port/name"
SENDER = {"DEFAULT_FROM_EMAIL": "noreply@example.com"}

# name: (variables to set, variables to unset, variable of the row, text in the row)
BROKEN: dict[str, tuple[dict[str, str], list[str], str, list[str]]] = {
    "secret key missing": ({}, [KEY], KEY, ["Not set.", KEY_FORM, "env/secrets.env"]),
    "secret key empty": ({KEY: ""}, [], KEY, ["Empty.", KEY_FORM]),
    "secret key blank": ({KEY: "   "}, [], KEY, ["Empty.", KEY_FORM]),
    "secret key short": ({KEY: CANARY}, [], KEY, ["Shorter than 50", "openssl rand"]),
    "secret key monotonous": ({KEY: "ab" * 40}, [], KEY, ["nearly all the same", "openssl"]),
    "secret key insecure": (
        {KEY: "django-insecure-" + CANARY * 3},
        [],
        KEY,
        ["insecure key while DEBUG is off", "a random key"],
    ),
    "former key insecure": (
        {"SECRET_KEY_FALLBACKS": "django-insecure-" + CANARY * 3},
        [],
        "SECRET_KEY_FALLBACKS",
        ["insecure key", "a random key"],
    ),
    "spaces around a secret": (
        {KEY: f" {CANARY * 3}"},
        [],
        KEY,
        ["white space", KEY_FORM],
    ),
    "not UTF-8": ({KEY: CANARY * 3 + "\udcff"}, [], KEY, ["UTF-8", KEY_FORM]),
    "database missing": ({}, ["DATABASE_URL"], "DATABASE_URL", ["Not set.", URL_FORM]),
    "database misspelt": (
        {"DATBASE_URL": "postgres://app:canary@h/app"},
        ["DATABASE_URL"],
        "DATABASE_URL",
        ["Not set, but DATBASE_URL is: a misspelling?"],
    ),
    "database file misspelt": (
        {"DATBASE_URL_FILE": "/run/secrets/database"},
        ["DATABASE_URL"],
        "DATABASE_URL",
        ["DATBASE_URL is: a misspelling?"],
    ),
    "optional variable misspelt": (
        {"LOG_LEVLE": "DEBUG"},
        [],
        "LOG_LEVEL",
        ["Not set, but LOG_LEVLE is: a misspelling?", "DEBUG or INFO"],
    ),
    "database given twice": (
        {"DATABASE_SECRET": json.dumps(RDS)},
        [],
        "DATABASE_URL",
        ["Set together with DATABASE_SECRET.", "one of the two"],
    ),
    "database of another kind": (
        {"DATABASE_URL": f"mysql://app:{CANARY}@h/app"},
        [],
        "DATABASE_URL",
        ["Not a URL of this form", URL_FORM],
    ),
    "database password with a slash": (
        {"DATABASE_URL": f"postgres://app:1/{CANARY}@h/app"},
        [],
        "DATABASE_URL",
        ["%2F", URL_FORM],
    ),
    "database password with a hash": (
        {"DATABASE_URL": f"postgres://app:1#{CANARY}@h/app"},
        [],
        "DATABASE_URL",
        ["%23", URL_FORM],
    ),
    "database password with nearly everything": (
        {"DATABASE_URL": f"postgres://app:1@2/3?{CANARY}@h/app"},
        [],
        "DATABASE_URL",
        ["%3F", URL_FORM],
    ),
    "database without a name": (
        {"DATABASE_URL": f"postgres://app:{CANARY}@h/"},
        [],
        "DATABASE_URL",
        ["Names no database.", URL_FORM],
    ),
    "database without a user": (
        {"DATABASE_URL": "postgres://h/app"},
        [],
        "DATABASE_URL",
        ["Names no user.", URL_FORM],
    ),
    "database on an impossible port": (
        {"DATABASE_URL": f"postgres://app:{CANARY}@h:77777/app"},
        [],
        "DATABASE_URL",
        ["Not a URL of this form", URL_FORM],
    ),
    "database with an unknown option": (
        {"DATABASE_URL": f"postgres://app:{CANARY}@h/app?pool=true"},
        [],
        "DATABASE_URL",
        ["an option that libpq does not know"],
    ),
    "database with an invalid sslmode": (
        {"DATABASE_URL": f"postgres://app:{CANARY}@h/app?sslmode=bogus"},
        [],
        "DATABASE_URL",
        ["libpq refuses sslmode."],
    ),
    "database with a connect timeout that is not a number": (
        {"DATABASE_URL": f"postgres://app:{CANARY}@h/app?connect_timeout=abc&keepalives=1"},
        [],
        "DATABASE_URL",
        ["libpq refuses connect_timeout."],
    ),
    "database with a number that is none": (
        {"DATABASE_URL": f"postgres://app:{CANARY}@h/app?connect_timeout=²"},
        [],
        "DATABASE_URL",
        ["Not a URL that dj-database-url can read."],
    ),
    "database with an option that contains NUL": (
        {"DATABASE_URL": f"postgres://app:{CANARY}@h/app?application_name=a%00b"},
        [],
        "DATABASE_URL",
        ["libpq refuses application_name."],
    ),
    "database with invalid keepalives": (
        {
            "DATABASE_URL": f"postgres://app:{CANARY}@h/app?keepalives=a&keepalives_count=b"
            "&keepalives_idle=c&keepalives_interval=d"
        },
        [],
        "DATABASE_URL",
        ["libpq refuses keepalives, keepalives_count, keepalives_idle, keepalives_interval."],
    ),
    "database with two invalid options": (
        {"DATABASE_URL": f"postgres://app:{CANARY}@h/app?channel_binding=x&tcp_user_timeout=y"},
        [],
        "DATABASE_URL",
        ["libpq refuses channel_binding, tcp_user_timeout."],
    ),
    "database with options that exclude each other": (
        {
            "DATABASE_URL": f"postgres://app:{CANARY}@h/app"
            "?ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2"
        },
        [],
        "DATABASE_URL",
        ["libpq refuses ssl_min_protocol_version, ssl_max_protocol_version."],
    ),
    "database with missing root certificates": (
        {"DATABASE_URL": f"postgres://app:{CANARY}@h/app?sslrootcert=/none.pem"},
        [],
        "DATABASE_URL",
        ["sslrootcert is not the path of a file."],
    ),
    "sslmode unknown": (
        {"DATABASE_SSLMODE": "bogus"},
        [],
        "DATABASE_SSLMODE",
        ["Not one of these", "verify-ca or verify-full"],
    ),
    "sslmode in the URL as well": (
        {"DATABASE_SSLMODE": "verify-full"},
        [],
        "DATABASE_SSLMODE",
        ["Set together with sslmode in DATABASE_URL.", "one of the two"],
    ),
    "sslmode in the direct URL as well": (
        {
            "DATABASE_URL": f"postgres://app:{CANARY}@pooler/app",
            "DATABASE_DIRECT_URL": f"postgres://app:{CANARY}@h/app?sslmode=require",
            "DATABASE_SSLMODE": "verify-full",
        },
        [],
        "DATABASE_SSLMODE",
        ["Set together with sslmode in DATABASE_DIRECT_URL.", "one of the two"],
    ),
    "sslmode in the owner's URL as well": (
        {
            "DATABASE_URL": f"postgres://app:{CANARY}@h/app",
            "DATABASE_OWNER_URL": f"postgres://owner:{CANARY}@h/app?sslmode=require",
            "DATABASE_SSLMODE": "verify-full",
        },
        [],
        "DATABASE_SSLMODE",
        ["Set together with sslmode in DATABASE_OWNER_URL.", "one of the two"],
    ),
    "root certificates missing": (
        {"DATABASE_SSLROOTCERT": "/none.pem"},
        [],
        "DATABASE_SSLROOTCERT",
        ["not the path of a file", "PEM file, or system"],
    ),
    "root certificates too weakly verified": (
        {"DATABASE_SSLROOTCERT": "system"},
        [],
        "DATABASE_SSLROOTCERT",
        ["libpq refuses it together", "verify-full as sslmode"],
    ),
    "secret of RDS is not JSON": (
        {"DATABASE_SECRET": CANARY},
        ["DATABASE_URL"],
        "DATABASE_SECRET",
        ["Not JSON.", "JSON with username, password"],
    ),
    "secret of RDS is a list": (
        {"DATABASE_SECRET": f'["{CANARY}"]'},
        ["DATABASE_URL"],
        "DATABASE_SECRET",
        ["Not a JSON object.", "JSON with username"],
    ),
    "secret of RDS lacks fields": (
        {"DATABASE_SECRET": json.dumps({"password": CANARY, "host": "h"})},
        ["DATABASE_URL"],
        "DATABASE_SECRET",
        ["Lacks username, dbname."],
    ),
    "secret of RDS has a port that is not a number": (
        {"DATABASE_SECRET": json.dumps(RDS | {"port": "none"})},
        ["DATABASE_URL"],
        "DATABASE_SECRET",
        ["Its port is not a number"],
    ),
    "secret of RDS has an impossible port": (
        {"DATABASE_SECRET": json.dumps(RDS | {"port": 99999})},
        ["DATABASE_URL"],
        "DATABASE_SECRET",
        ["Its port is not a number from 1 to 65535."],
    ),
    "redis missing": ({}, ["REDIS_URL"], "REDIS_URL", ["Not set.", "redis://host:port/number"]),
    "redis of another kind": (
        {"REDIS_URL": f"http://:{CANARY}@h"},
        [],
        "REDIS_URL",
        ["Not a URL of this form", "redis://host:port/number"],
    ),
    "redis with a database name": (
        {"REDIS_URL": f"redis://:{CANARY}@h/cache"},
        [],
        "REDIS_URL",
        ["The path is not a database number."],
    ),
    "redis with an unknown option": (
        {"REDIS_URL": f"redis://:{CANARY}@h/0?timout=1"},
        [],
        "REDIS_URL",
        ["redis-py refuses the options"],
    ),
    "redis with missing root certificates": (
        {"REDIS_URL": f"rediss://:{CANARY}@h/0?ssl_ca_certs=/none.pem"},
        [],
        "REDIS_URL",
        ["ssl_ca_certs is not the path of a file."],
    ),
    "mail server of another kind": (
        {"EMAIL_URL": f"https://a:{CANARY}@h", **SENDER},
        [],
        "EMAIL_URL",
        ["Not a URL of this form", "smtps://"],
    ),
    "mail server with a path": (
        {"EMAIL_URL": f"smtps://a:{CANARY}@h/inbox", **SENDER},
        [],
        "EMAIL_URL",
        ["Nothing may follow the host", "smtps://"],
    ),
    "mail server's password unencrypted": (
        {"EMAIL_URL": f"smtp://a:{CANARY}@h", **SENDER},
        [],
        "EMAIL_URL",
        ["sends the password unencrypted", "smtps://"],
    ),
    "mail server without a sender": (
        {"EMAIL_URL": f"smtps://a:{CANARY}@h"},
        [],
        "DEFAULT_FROM_EMAIL",
        ["Not set, while EMAIL_URL is.", "noreply@example.com"],
    ),
    "sender that is not an address": (
        {"DEFAULT_FROM_EMAIL": "Somebody"},
        [],
        "DEFAULT_FROM_EMAIL",
        ["Not an e-mail address.", "noreply@example.com"],
    ),
    "sender with a second header": (
        {"DEFAULT_FROM_EMAIL": "Some\nBcc: b@example.com <a@example.com>"},
        [],
        "DEFAULT_FROM_EMAIL",
        ["a character that no header may hold", "noreply@example.com"],
    ),
    "hosts missing": ({}, ["ALLOWED_HOSTS"], "ALLOWED_HOSTS", ["Not set.", "env/ecs-local.env"]),
    "hosts with a scheme": (
        {"ALLOWED_HOSTS": "https://example.com"},
        [],
        "ALLOWED_HOSTS",
        ["no scheme, no port"],
    ),
    "hosts with a trailing dot": (
        {"ALLOWED_HOSTS": "example.org, example.com."},
        [],
        "ALLOWED_HOSTS",
        ["Ends with a dot, which Django removes"],
    ),
    "any host": (
        {"ALLOWED_HOSTS": "*"},
        [],
        "ALLOWED_HOSTS",
        ["Contains * while DEBUG is off.", "the site's own host names"],
    ),
    "origin without a scheme": (
        {"CSRF_TRUSTED_ORIGINS": "example.com"},
        [],
        "CSRF_TRUSTED_ORIGINS",
        ["Not an origin", "https://example.com"],
    ),
    "debug in the ecs target": ({"DEBUG": "true"}, [], "DEBUG", ["On in the ecs target.", "false"]),
    "debug neither true nor false": ({"DEBUG": "maybe"}, [], "DEBUG", ["true or false"]),
    "target unknown": ({"TARGET": "prod"}, [], "TARGET", ["Not one of these", "dev or ecs"]),
    "not a number": ({"WORKERS": "two"}, [], "WORKERS", ["from 1 to 64"]),
    "pool with too many threads": (
        {"DATABASE_POOL_SIZE": "41"},
        [],
        "DATABASE_POOL_SIZE",
        ["Out of range.", "1 to 40"],
    ),
    "number out of range": ({"PORT": "70000"}, [], "PORT", ["Out of range.", "1 to 65535"]),
    "number not finite": ({"REDIS_TIMEOUT": "nan"}, [], "REDIS_TIMEOUT", ["0.01 to 60"]),
    "level in lower case": ({"LOG_LEVEL": "info"}, [], "LOG_LEVEL", ["DEBUG or INFO"]),
    "proxies behind TLS not counted": (
        {},
        ["TRUSTED_PROXY_COUNT"],
        "TRUSTED_PROXY_COUNT",
        [
            "Not set, while TLS_IN_FRONT is on in the ecs target.",
            "1 behind an Application Load Balancer",
            "env/ecs-local.env, or the task definition",
        ],
    ),
    "preload for too short a time": (
        {"HSTS_PRELOAD": "true"},
        [],
        "HSTS_SECONDS",
        ["Too short for HSTS_PRELOAD.", "31536000 or more"],
    ),
    "preload without subdomains": (
        {
            "HSTS_PRELOAD": "true",
            "HSTS_SECONDS": "31536000",
            "HSTS_INCLUDE_SUBDOMAINS": "false",
        },
        [],
        "HSTS_INCLUDE_SUBDOMAINS",
        ["Off, while HSTS_PRELOAD is on.", "true, or HSTS_PRELOAD=false"],
    ),
    "drain delay longer than the graceful timeout": (
        {"DRAIN_DELAY": "30"},
        [],
        "DRAIN_DELAY",
        ["Not less than GRACEFUL_TIMEOUT.", "less than 25"],
    ),
}


def _assert_exits_with_row(
    capsys: pytest.CaptureFixture[str], variable: str, words_of_row: list[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        load_or_exit()
    printed = capsys.readouterr()
    assert stopped.value.code == EX_CONFIG
    assert printed.out == ""
    assert "The environment has 1 problem;" in printed.err
    (row,) = [line for line in printed.err.splitlines() if line.startswith(variable + " ")]
    for words in words_of_row:
        assert words in row
    assert CANARY not in printed.err


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize("case", BROKEN)
def test_invalid_variable_exits_78_with_one_row(
    case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, missing, variable, words_of_row = BROKEN[case]
    for name in missing:
        monkeypatch.delenv(name)
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    _assert_exits_with_row(capsys, variable, words_of_row)


def _write(content: bytes) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        file = folder / "secret"
        file.write_bytes(content)
        return str(file)

    return make


def _fifo(folder: Path) -> str:
    os.mkfifo(folder / "fifo")
    return str(folder / "fifo")


# name: (returns the value of SECRET_KEY_FILE, text in the row)
BROKEN_FILES: dict[str, tuple[Callable[[Path], str], list[str]]] = {
    "file missing": (lambda folder: str(folder / "none"), ["cannot be read: No such file"]),
    # A secret in the wrong variable is not printed.
    "path is the secret": (lambda _: CANARY, ["cannot be read: No such file"]),
    "path empty": (lambda _: "", ["Not the path of a file."]),
    "path too long": (lambda _: CANARY * 500, ["cannot be read: File name too long"]),
    "file is a folder": (str, ["Not the path of a file."]),
    "file is a pipe": (_fifo, ["Not the path of a file."]),
    "file is a device": (lambda _: "/dev/zero", ["Not the path of a file."]),
    "file empty": (_write(b""), ["Empty.", "SECRET_KEY_FILE=/"]),
    "file contains only a newline": (_write(b"\n"), ["Empty.", "SECRET_KEY_FILE=/"]),
    "file not UTF-8": (_write(b"\xff\xfe" * 60), ["UTF-8", "SECRET_KEY_FILE=/"]),
    "file contains NUL": (_write(CANARY.encode() * 3 + b"\0x"), ["UTF-8", "SECRET_KEY_FILE=/"]),
    "file too large": (_write(b"x" * (MAX_VALUE_SIZE + 1)), ["larger than", "SECRET_KEY_FILE=/"]),
    "file contains a short key": (
        _write(CANARY.encode()),
        ["Shorter than 50", "SECRET_KEY_FILE=/"],
    ),
}


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize("case", BROKEN_FILES)
def test_invalid_file_exits_78_with_one_row(
    case: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make, words_of_row = BROKEN_FILES[case]
    monkeypatch.delenv(KEY)
    monkeypatch.setenv("SECRET_KEY_FILE", make(tmp_path))
    _assert_exits_with_row(capsys, KEY, [*words_of_row, KEY_FORM])


@pytest.mark.usefixtures("sound")
def test_variable_given_twice_exits_78(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECRET_KEY_FILE", "/run/secrets/key")
    _assert_exits_with_row(capsys, KEY, ["Set together with SECRET_KEY_FILE."])

"""The environment contract: every variable this project reads, declared once.

Nothing else in the project reads ``os.environ``. ``load`` validates all of it and reports every
problem in one table; a process that starts with a broken environment exits with status 78
(EX_CONFIG of sysexits.h) and no traceback.

Any variable ``NAME`` may be given as ``NAME_FILE``, the path of a file that holds the value, as
Docker and ECS mount secrets. Giving both is an error, as it is for the official postgres image.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn
from urllib.parse import urlsplit

import dj_database_url
from django.core.management.utils import get_random_secret_key
from environs import Env, EnvValidationError, ValidationError

EX_CONFIG = 78
INSECURE_KEY_PREFIX = "django-insecure-"  # Django's own mark, see check security.W009
FILE_SUFFIX = "_FILE"

Target = Literal["dev", "ecs"]
TARGETS: tuple[Target, ...] = typing.get_args(Target)

# Where a variable is set: locally in the named file under env/, on AWS in the named part of the
# task definition.
Place = Literal["image", "backing-services", "target", "secrets"]
PLACES: dict[Place, str] = {
    "image": "the image (docker/Dockerfile)",
    "backing-services": "env/backing-services.env; on ECS the task definition's secrets",
    "target": "env/dev.env or env/ecs-local.env; on ECS the task definition's environment",
    "secrets": "env/secrets.env; on ECS the task definition's secrets",
}


class Variable(NamedTuple):
    """What the contract says of one variable besides its name, type and default."""

    meaning: str
    place: Place
    secret: bool
    required_in: tuple[Target, ...]
    # What stands in for a required variable while an image is built (see BUILD).
    build_value: Any
    check: Callable[[Any], object] | None


def variable(
    meaning: str,
    *,
    default: Any = None,
    place: Place = "target",
    secret: bool = False,
    required_in: tuple[Target, ...] = (),
    build_value: Any = None,
    check: Callable[[Any], object] | None = None,
) -> Any:
    """Declare one variable of the contract.

    ``default`` is used when the variable is not set; ``required_in`` names the targets that
    refuse to start without it. ``check`` takes the parsed value and raises ``ValidationError``
    with a text that never holds the value.
    """
    declared = Variable(meaning, place, secret, required_in, build_value, check)
    if isinstance(default, list):
        values = tuple(default)
        return dataclasses.field(
            default_factory=lambda: list(values), metadata={"variable": declared}
        )
    return dataclasses.field(default=default, metadata={"variable": declared})


def between(low: float, high: float) -> Callable[[float], None]:
    """Return a check that a number lies between ``low`` and ``high``, both included."""

    def check(value: float) -> None:
        if not low <= value <= high:
            raise ValidationError(f"Not between {low} and {high}.")

    return check


def url(*schemes: str) -> Callable[[str], None]:
    """Return a check that a text is a URL of one of the ``schemes`` with a host."""

    def check(value: str) -> None:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValidationError(f"Not a URL of the form {schemes[0]}://host[:port]/….")

    return check


def database_url(value: str) -> None:
    """Check a database URL with dj-database-url, which the settings read it with."""
    url("postgres", "postgresql")(value)
    try:
        name = dj_database_url.parse(value).get("NAME")
    except (dj_database_url.ParseError, ValueError) as error:
        raise ValidationError(
            "Not a URL that can be read; quote special characters of the password (RFC 3986), "
            "or give DATABASE_SECRET instead."
        ) from error
    if not name:
        raise ValidationError("Names no database: postgres://user:password@host:port/NAME.")


def database_secret(value: str) -> None:
    """Check the JSON that RDS keeps in Secrets Manager: the four fields that it must hold."""
    try:
        secret = json.loads(value)
    except ValueError as error:
        raise ValidationError("Not JSON.") from error
    if not isinstance(secret, dict):
        raise ValidationError("Not a JSON object.")
    missing = [key for key in ("username", "password", "host", "dbname") if not secret.get(key)]
    if missing:
        raise ValidationError(f"Lacks {', '.join(missing)}.")
    if not str(secret.get("port", 5432)).isdecimal():
        raise ValidationError("Its port is not a number.")


def secret_key(value: str) -> None:
    """Check the length that Django's own check security.W009 asks for."""
    if len(value) < 50:
        raise ValidationError("Shorter than 50 characters; `openssl rand -base64 48` makes one.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """The contract's variables, with the values that the environment gives them."""

    TARGET: Target = variable("Which image target runs.", default="ecs", place="image")
    BUILD: bool = variable(
        "Building an image: inert values stand in for what is required; nothing may be served.",
        default=False,
        place="image",
    )
    PORT: int = variable(
        "TCP port that the web process listens on.",
        default=8000,
        place="image",
        check=between(1, 65535),
    )

    DATABASE_URL: str | None = variable(
        "PostgreSQL as postgres://user:password@host:port/name; this or DATABASE_SECRET.",
        place="backing-services",
        secret=True,
        build_value="postgres://build@build/build",
        check=database_url,
    )
    DATABASE_SECRET: str | None = variable(
        "PostgreSQL as the JSON that RDS keeps in Secrets Manager: username, password, host, "
        "port, dbname.",
        place="backing-services",
        secret=True,
        check=database_secret,
    )
    REDIS_URL: str = variable(
        "Redis as redis://host:port/number, or rediss:// for TLS.",
        place="backing-services",
        secret=True,
        required_in=TARGETS,
        build_value="redis://build",
        check=url("redis", "rediss"),
    )

    SECRET_KEY: str = variable(
        "Signs sessions and tokens: 50 characters or more, the same in every replica.",
        place="secrets",
        secret=True,
        required_in=TARGETS,
        build_value=get_random_secret_key(),
        check=secret_key,
    )
    SECRET_KEY_FALLBACKS: list[str] = variable(
        "Former keys, comma-separated, still accepted while SECRET_KEY is rotated.",
        default=[],
        place="secrets",
        secret=True,
    )
    DJANGO_SUPERUSER_EMAIL: str | None = variable(
        "E-mail of the superuser that `manage.py ensure_superuser` makes; dev only."
    )
    DJANGO_SUPERUSER_PASSWORD: str | None = variable(
        "Password of that superuser; dev only.", secret=True
    )

    DEBUG: bool = variable("Django's debug mode; dev only.", default=False)
    ALLOWED_HOSTS: list[str] = variable(
        "Host names the site answers to, comma-separated.",
        default=[],
        required_in=("ecs",),
        build_value=["build"],
    )
    CSRF_TRUSTED_ORIGINS: list[str] = variable(
        "Further origins, with scheme, that may post forms, comma-separated.", default=[]
    )
    TLS_IN_FRONT: bool = variable(
        "TLS ends in front of the container: Secure cookies, HTTPS redirect, HSTS.", default=True
    )
    HSTS_SECONDS: int = variable(
        "How long browsers may insist on HTTPS, in seconds, when TLS_IN_FRONT.",
        default=3600,
        check=between(0, 63_072_000),
    )
    TRUSTED_PROXY_COUNT: int = variable(
        "Proxies in front that append to X-Forwarded-For; an Application Load Balancer is 1.",
        default=0,
        check=between(0, 10),
    )

    DATABASE_POOL_SIZE: int = variable(
        "PostgreSQL connections a web process may hold at most.",
        default=8,
        check=between(1, 1000),
    )
    DATABASE_POOL_TIMEOUT: float = variable(
        "Seconds a request waits for a pooled connection.", default=2.0, check=between(0.1, 60)
    )
    DATABASE_CONNECT_TIMEOUT: int = variable(
        "Seconds a new PostgreSQL connection may take; libpq knows no less than 2.",
        default=2,
        check=between(2, 60),
    )
    DATABASE_STATEMENT_TIMEOUT: int = variable(
        "Milliseconds one SQL statement of a request may take; 0 for no limit.",
        default=15_000,
        check=between(0, 3_600_000),
    )
    REDIS_TIMEOUT: float = variable(
        "Seconds one Redis operation may take before the site goes on without Redis.",
        default=0.5,
        check=between(0.01, 60),
    )

    WEB_CONCURRENCY: int = variable(
        "Worker processes of one container.", default=2, check=between(1, 64)
    )
    KEEP_ALIVE: int = variable(
        "Seconds an idle connection stays open; more than the load balancer's idle timeout (60).",
        default=75,
        check=between(1, 4000),
    )
    DRAIN_DELAY: float = variable(
        "Seconds after SIGTERM in which readiness says 503 while requests are still served.",
        default=5.0,
        check=between(0, 110),
    )
    GRACEFUL_TIMEOUT: int = variable(
        "Seconds after SIGTERM until unfinished requests are dropped, DRAIN_DELAY included; "
        "less than ECS's stopTimeout (30).",
        default=25,
        check=between(1, 119),
    )

    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = variable(
        "Least severe level that is logged.", default="INFO"
    )
    LOG_FORMAT: Literal["json", "console"] = variable(
        "One JSON object a line, or text for people.", default="json"
    )
    WATCHFILES_FORCE_POLLING: bool = variable(
        "Poll for changed files where the mount delivers no file events; dev only.", default=False
    )

    def database(self) -> dict[str, Any]:
        """Return what Django's DATABASES wants of the server, the user and the database."""
        if self.DATABASE_SECRET:
            secret = json.loads(self.DATABASE_SECRET)
            return {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": secret["dbname"],
                "USER": secret["username"],
                "PASSWORD": secret["password"],
                "HOST": secret["host"],
                "PORT": int(secret.get("port", 5432)),
                "OPTIONS": {},
            }
        parsed = dj_database_url.parse(self.DATABASE_URL or "")
        return {"OPTIONS": {}} | dict(parsed)


class Problem(NamedTuple):
    """One row of the table that a broken environment prints."""

    variable: str
    wrong: str
    expected: str
    where: str


class Contract(NamedTuple):
    """One variable of the contract, as listings show it."""

    name: str
    type: str
    default: Any
    variable: Variable


_HINTS = typing.get_type_hints(Environment)


def _bare(hint: Any) -> Any:
    """Return the type without its ``| None``."""
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _type_name(hint: Any) -> str:
    hint = _bare(hint)
    if typing.get_origin(hint) is Literal:
        return " or ".join(typing.get_args(hint))
    return {bool: "true or false", int: "whole number", float: "number", str: "text"}.get(
        hint, "list"
    )


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


CONTRACT: dict[str, Contract] = {
    field.name: Contract(
        field.name, _type_name(_HINTS[field.name]), _default(field), field.metadata["variable"]
    )
    for field in dataclasses.fields(Environment)
}


class _Source(Env):
    """environs, reading from the given mapping instead of ``os.environ``."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(eager=False)
        self._source = values

    def _get_value(self, env_key: str, default: Any) -> Any:
        return self._source.get(env_key, default)

    def read(self, name: str, default: Any, check: Callable[[Any], object] | None) -> Any:
        """Parse ``name`` by its type in the contract; problems wait for ``seal``."""
        hint = _bare(_HINTS[name])
        options: dict[str, Any] = {"validate": check} if check else {}
        if typing.get_origin(hint) is Literal:
            choices = typing.get_args(hint)

            def one_of(value: str) -> None:
                if value not in choices:
                    raise ValidationError(f"Not {_type_name(hint)}.")

            return self.str(name, default, validate=one_of)
        if typing.get_origin(hint) is list:
            return self.list(name, default, **options)
        parsers: dict[Any, Callable[..., Any]] = {
            bool: self.bool,
            int: self.int,
            float: self.float,
            str: self.str,
        }
        return parsers[hint](name, default, **options)


def load(environ: Mapping[str, str] | None = None) -> Environment:
    """Read and validate the environment.

    Exits with status 78 after printing every problem to stderr when there is one.
    """
    environment, problems = validate(os.environ if environ is None else environ)
    if environment is None:
        fail(problems)
    return environment


def fail(problems: list[Problem]) -> NoReturn:
    """Print the problems as a table to stderr and exit with status 78."""
    sys.stderr.write(table(problems))
    raise SystemExit(EX_CONFIG)


def validate(environ: Mapping[str, str]) -> tuple[Environment | None, list[Problem]]:
    """Return the environment, or None and all its problems. Neither holds a secret's value."""
    problems: list[Problem] = []

    def problem(name: str, wrong: str, expected: str = "", where: str = "") -> None:
        entry = CONTRACT[name]
        problems.append(
            Problem(name, wrong, expected or entry.type, where or PLACES[entry.variable.place])
        )

    given: dict[str, str] = {}
    for name in CONTRACT:
        value, wrong = _given(environ, name)
        if wrong:
            problem(name, wrong, "one value that is not empty", _where(environ, name))
        elif value is not None:
            given[name] = value

    source = _Source(given)
    values: dict[str, Any] = {
        name: source.read(name, entry.default, entry.variable.check)
        for name, entry in CONTRACT.items()
    }
    try:
        source.seal()
    except EnvValidationError as error:
        for name, messages in dict(error.error_messages).items():
            texts = _flat(messages)
            problem(name, " ".join(texts), where=_where(environ, name))

    broken = {row.variable for row in problems}
    if values["BUILD"]:
        for name, entry in CONTRACT.items():
            if name not in given and entry.variable.build_value is not None:
                values[name] = entry.variable.build_value
    elif not broken & {"TARGET", "BUILD"}:
        _check_together(environ, given, values, broken, problem)

    if problems:
        return None, problems
    return Environment(**values), []


def _check_together(
    environ: Mapping[str, str],
    given: Mapping[str, str],
    values: Mapping[str, Any],
    broken: set[str],
    problem: Callable[..., None],
) -> None:
    """Report what single variables cannot show: what is missing, and what does not go together."""
    target: Target = values["TARGET"]

    def missing(name: str, expected: str = "") -> None:
        if name in given or name in broken:
            return
        strangers = [key for key in environ if key.removesuffix(FILE_SUFFIX) not in CONTRACT]
        near = difflib.get_close_matches(name, strangers, n=1, cutoff=0.85)
        wrong = f"Not set, but {near[0]} is: a misspelling?" if near else "Not set."
        problem(name, wrong, expected)

    for name, entry in CONTRACT.items():
        if target in entry.variable.required_in:
            missing(name)

    if "DATABASE_URL" in given and "DATABASE_SECRET" in given:
        problem("DATABASE_URL", "Set together with DATABASE_SECRET.", "one of the two")
    elif "DATABASE_SECRET" not in given and "DATABASE_SECRET" not in broken:
        missing("DATABASE_URL", "this or DATABASE_SECRET")

    key = values["SECRET_KEY"]
    if key and not values["DEBUG"] and key.startswith(INSECURE_KEY_PREFIX):
        problem("SECRET_KEY", "An insecure key while DEBUG is off.", "a random key")
    if values["DEBUG"] and target == "ecs":
        problem("DEBUG", "On in the ecs target.", "false")
    if values["ALLOWED_HOSTS"] and "*" in values["ALLOWED_HOSTS"] and not values["DEBUG"]:
        problem("ALLOWED_HOSTS", "Holds * while DEBUG is off.", "the site's own host names")
    drain, graceful = values["DRAIN_DELAY"], values["GRACEFUL_TIMEOUT"]
    if drain is not None and graceful is not None and drain >= graceful:
        problem("DRAIN_DELAY", "Not less than GRACEFUL_TIMEOUT.", f"less than {graceful}")


def _given(environ: Mapping[str, str], name: str) -> tuple[str | None, str]:
    """Return the variable's text, from itself or its file, and what is wrong with that."""
    path = environ.get(name + FILE_SUFFIX)
    if path is None:
        value = environ.get(name)
        return (value, "") if value is None or value.strip() else (None, "Empty.")
    if name in environ:
        return None, f"Set together with {name}{FILE_SUFFIX}."
    try:
        value = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return None, f"Its file cannot be read: {reason or 'not a text file'}."
    return (value, "") if value.strip() else (None, "Its file is empty.")


def _where(environ: Mapping[str, str], name: str) -> str:
    """Say where the variable's value came from, for the table."""
    if name + FILE_SUFFIX in environ and name not in environ:
        return f"{name}{FILE_SUFFIX}={environ[name + FILE_SUFFIX]}"
    return PLACES[CONTRACT[name].variable.place]


def _flat(messages: Any) -> list[str]:
    """Return environs' messages as one list: those of lists come as a mapping by index."""
    if isinstance(messages, Mapping):
        return [text for part in messages.values() for text in _flat(part)]
    if isinstance(messages, str):
        return [messages]
    return [text for part in messages for text in _flat(part)]


def table(problems: list[Problem]) -> str:
    """Return the problems as a table of text, one row each."""
    heading = Problem("Variable", "What is wrong", "Expected", "Where it is set")
    rows = [heading, *sorted(problems)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[3]])
        for row in rows
    ]
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return f"The environment has {count}; nothing was started.\n\n" + "\n".join(lines) + "\n"

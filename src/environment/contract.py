"""The environment contract: every variable this project reads, declared once.

Nothing else in the project reads ``os.environ``. ``load_or_exit`` validates all of it and reports
every problem in one table; a process that starts with a broken environment exits with status 78
(EX_CONFIG of sysexits.h) and no traceback.

Any variable ``NAME`` may be given as ``NAME_FILE``, the path of a file that holds the value, as
Docker and ECS mount secrets. Giving both is an error, as it is for the official postgres image.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import types
import typing
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from email.utils import parseaddr
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

import dj_database_url
from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.management.utils import get_random_secret_key
from django.core.validators import validate_email
from environs import Env, EnvValidationError, ValidationError
from psycopg.conninfo import make_conninfo
from redis import ConnectionPool

EX_CONFIG = 78
FILE_SUFFIX = "_FILE"
# The largest value of AWS Secrets Manager, in bytes:
# https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
LARGEST_VALUE = 65_536
# What Django's own check security.W009 asks of a key.
INSECURE_KEY_PREFIX = "django-insecure-"
KEY_LENGTH = 50
KEY_CHARACTERS = 5

Target = Literal["dev", "ecs"]
TARGETS: tuple[Target, ...] = typing.get_args(Target)

# Who sets a variable: the image itself, or one of the files under env/; on ECS the task definition
# has their place, with a `secrets` section for what is secret and `environment` for the rest.
Place = Literal["image", "backing-services", "target", "secrets"]
TARGET_FILES: dict[Target, str] = {"dev": "env/dev.env", "ecs": "env/ecs-local.env"}

# What the scheme of EMAIL_URL says; the ports are the backend's own: 25, 587, 465.
MAIL_OPTIONS: dict[str, dict[str, Any]] = {
    "smtp": {},
    "smtp+starttls": {"use_tls": True},
    "smtps": {"use_ssl": True},
}

Check = Callable[[Any], object]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variable:
    """What the contract says of one variable. ``type`` is for people: what a value looks like."""

    name: str
    type: str
    default: Any
    meaning: str
    place: Place
    secret: bool
    required_in: tuple[Target, ...]
    # What stands in for a required variable while an image is built (see BUILD).
    build_value: Any
    check: Check | None


def variable(
    meaning: str,
    *,
    default: Any = None,
    type: str = "",  # noqa: A002 - the contract's own word
    place: Place = "target",
    secret: bool = False,
    required_in: tuple[Target, ...] = (),
    build_value: Any = None,
    check: Check | None = None,
) -> Any:
    """Declare one variable of the contract.

    ``default`` is used when the variable is not set; ``type`` says what a value looks like, where
    the annotation alone does not; ``required_in`` names the targets that refuse to start without
    it. ``check`` takes the parsed value (of a list: each entry) and raises ``ValidationError`` with
    a text that never holds the value.
    """
    metadata = {
        "type": type,
        "meaning": meaning,
        "place": place,
        "secret": secret,
        "required_in": required_in,
        "build_value": build_value,
        "check": check,
    }
    # Debug pages print their settings: a secret must not be in the repr.
    if isinstance(default, list):
        return dataclasses.field(
            default_factory=lambda: list(default), repr=not secret, metadata=metadata
        )
    return dataclasses.field(default=default, repr=not secret, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Between:
    """A check that a number lies between ``low`` and ``high``, both included."""

    low: float
    high: float

    def __call__(self, value: float) -> None:
        """Raise ValidationError when it does not."""
        if not self.low <= value <= self.high:
            raise ValidationError("Out of range.")


def text(value: object) -> str:
    """Return the value when it is text that a server can take; raises ValidationError if not."""
    if not isinstance(value, str) or "\0" in value or not _is_unicode(value):
        raise ValidationError("Not text in UTF-8.")
    return value


def url(value: str, *schemes: str) -> SplitResult:
    """Return the parts of a URL of one of the schemes that names a host.

    Raises ValidationError, also where a password's / # ? or @ was not quoted: the rest of it then
    stands in a part of the URL that has no business to hold it.
    """
    try:
        parts = urlsplit(value)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "@" in parts.path + parts.query or parts.fragment or parts.path.count("/") > 1:
        raise ValidationError(
            "Not such a URL. In a password, / # ? @ % and : are written as %2F %23 %3F %40 %25 %3A."
        )
    return parts


def database_url(value: str) -> None:
    """Check a database URL as dj-database-url reads it and libpq will take it."""
    url(value, "postgres", "postgresql")
    try:
        parsed = dj_database_url.parse(value)
    except (dj_database_url.ParseError, ValueError) as error:
        raise ValidationError("Not a URL that dj-database-url can read.") from error
    for key, what in (("NAME", "database"), ("USER", "user")):
        if not text(parsed[key]):  # type: ignore[literal-required]
            raise ValidationError(f"Names no {what}.")
    text(parsed["PASSWORD"])
    try:
        make_conninfo(**parsed.get("OPTIONS", {}))
    except Exception as error:
        raise ValidationError("After the ? stand options that libpq does not know.") from error


def database_secret(value: str) -> None:
    """Check the JSON that RDS keeps in Secrets Manager: the fields that a connection needs."""
    try:
        secret = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValidationError("Not JSON.") from error
    if not isinstance(secret, dict):
        raise ValidationError("Not a JSON object.")
    missing = [key for key in ("username", "password", "host", "dbname") if not secret.get(key)]
    if missing:
        raise ValidationError(f"Lacks {', '.join(missing)}.")
    for key in ("username", "password", "host", "dbname"):
        text(secret[key])
    if not re.fullmatch(r"[0-9]{1,5}", str(secret.get("port", 5432))):
        raise ValidationError("Its port is not a number.")


def redis_url(value: str) -> None:
    """Check a Redis URL as redis-py will take it; nothing is connected."""
    parts = url(value, "redis", "rediss")
    if not re.fullmatch(r"/?[0-9]*", parts.path):
        raise ValidationError("After the host stands no database number.")
    try:
        ConnectionPool.from_url(value).make_connection()
    except Exception as error:
        raise ValidationError("After the ? stand options that redis-py refuses.") from error


def email_url(value: str) -> None:
    """Check the URL of a mail server; a password goes over TLS or not at all."""
    parts = url(value, *MAIL_OPTIONS)
    if parts.path.strip("/") or parts.query:
        raise ValidationError("Nothing may stand after the host and the port.")
    if parts.scheme == "smtp" and (parts.username or parts.password):
        raise ValidationError("smtp:// would send the password in the clear: smtps, smtp+starttls.")


def sender(value: str) -> None:
    """Check an address that mail comes from, with or without a name."""
    if not value.isprintable():
        raise ValidationError("Holds what no header may.")
    _name, address = parseaddr(value)
    try:
        validate_email(address)
    except DjangoValidationError as error:
        raise ValidationError("Not an e-mail address.") from error


def host_name(value: str) -> None:
    """Check an entry of ALLOWED_HOSTS: what Django can find in a Host header, without the port."""
    if not re.fullmatch(r"\*|[a-z0-9.-]+|\[[a-f0-9:.]+\]", value, re.IGNORECASE):
        raise ValidationError("Not a host name alone: no scheme, no port; .example.com for all.")


def origin(value: str) -> None:
    """Check an entry of CSRF_TRUSTED_ORIGINS, as Django's own check 4_0.E001 and its Origin do."""
    if not re.fullmatch(r"https?://([a-z0-9.*-]+|\[[a-f0-9:.]+\])(:[0-9]+)?", value, re.IGNORECASE):
        raise ValidationError("Not an origin: scheme and host, no path.")


def secret_key(value: str) -> None:
    """Check what Django's own check security.W009 asks for."""
    if len(value) < KEY_LENGTH or len(set(value)) < KEY_CHARACTERS:
        raise ValidationError(
            f"Shorter than {KEY_LENGTH} characters, or nearly all the same; "
            "`openssl rand -base64 48` makes one."
        )


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
        check=Between(1, 65535),
    )

    DATABASE_URL: str | None = variable(
        "PostgreSQL; this or DATABASE_SECRET.",
        type="postgres://user:password@host:port/name",
        place="backing-services",
        secret=True,
        build_value="postgres://build@build/build",
        check=database_url,
    )
    DATABASE_SECRET: str | None = variable(
        "PostgreSQL as RDS keeps it in Secrets Manager; the password may hold any character.",
        type="JSON with username, password, host, port, dbname",
        place="backing-services",
        secret=True,
        check=database_secret,
    )
    REDIS_URL: str = variable(
        "Redis, or a server that speaks its protocol; rediss:// for TLS.",
        type="redis://host:port/number",
        place="backing-services",
        secret=True,
        required_in=TARGETS,
        build_value="redis://build",
        check=redis_url,
    )

    SECRET_KEY: str = variable(
        "Signs sessions and tokens; the same in every replica.",
        type=f"text of {KEY_LENGTH} characters or more",
        place="secrets",
        secret=True,
        required_in=TARGETS,
        build_value=get_random_secret_key(),
        check=secret_key,
    )
    SECRET_KEY_FALLBACKS: list[str] = variable(
        "Former keys, still accepted while SECRET_KEY is rotated.",
        type="keys, comma-separated",
        default=[],
        place="secrets",
        secret=True,
        check=secret_key,
    )
    DJANGO_SUPERUSER_EMAIL: str | None = variable(
        "E-mail of the superuser that `manage.py ensure_superuser` makes; dev only."
    )
    DJANGO_SUPERUSER_PASSWORD: str | None = variable(
        "Password of that superuser; dev only.", secret=True
    )

    DEBUG: bool = variable("Django's debug mode; dev only.", default=False)
    ALLOWED_HOSTS: list[str] = variable(
        "Host names the site answers to.",
        type="host names, comma-separated",
        default=[],
        required_in=("ecs",),
        build_value=["build"],
        check=host_name,
    )
    CSRF_TRUSTED_ORIGINS: list[str] = variable(
        "Further origins that may post forms.",
        type="origins such as https://example.com, comma-separated",
        default=[],
        check=origin,
    )
    TLS_IN_FRONT: bool = variable(
        "TLS ends in front of the container: Secure cookies, HTTPS redirect, HSTS.", default=True
    )
    HSTS_SECONDS: int = variable(
        "How long browsers may insist on HTTPS, in seconds, when TLS_IN_FRONT.",
        default=3600,
        check=Between(0, 63_072_000),
    )
    TRUSTED_PROXY_COUNT: int = variable(
        "Proxies in front that append to X-Forwarded-For; an Application Load Balancer is 1.",
        default=0,
        check=Between(0, 10),
    )

    DATABASE_POOL_SIZE: int = variable(
        "PostgreSQL connections a web process may hold at most.",
        default=8,
        check=Between(1, 1000),
    )
    DATABASE_POOL_TIMEOUT: float = variable(
        "Seconds a request waits for a pooled connection.", default=2.0, check=Between(0.1, 60)
    )
    DATABASE_CONNECT_TIMEOUT: int = variable(
        "Seconds a new PostgreSQL connection may take; libpq knows no less than 2.",
        default=2,
        check=Between(2, 60),
    )
    DATABASE_STATEMENT_TIMEOUT: int = variable(
        "Milliseconds one SQL statement of a request may take; 0 for no limit. A second later a "
        "PostgreSQL that does not answer is given up.",
        default=3000,
        check=Between(0, 3_600_000),
    )
    REDIS_TIMEOUT: float = variable(
        "Seconds one Redis operation may take before the site goes on without Redis.",
        default=0.5,
        check=Between(0.01, 60),
    )

    EMAIL_URL: str | None = variable(
        "Mail server. Without it the dev target prints mail to its log, and ecs sends none: nobody "
        "can reset a forgotten password.",
        type="smtps:// or smtp+starttls:// with user:password@host:port, or smtp://host:port",
        place="backing-services",
        secret=True,
        check=email_url,
    )
    DEFAULT_FROM_EMAIL: str | None = variable(
        "Address that mail comes from; needed with EMAIL_URL.",
        type="an address, as noreply@example.com or Name <noreply@example.com>",
        check=sender,
    )

    # Not WEB_CONCURRENCY: gunicorn and uvicorn read that one themselves, and fall over what is no
    # number with a traceback before this contract is asked.
    TASK_CONCURRENCY: int = variable(
        "Background tasks that one worker container runs at once.",
        default=4,
        check=Between(1, 64),
    )
    WORKERS: int = variable("Worker processes of one container.", default=2, check=Between(1, 64))
    REPLICAS: int = variable(
        "Containers that run at once, to check the pools against PostgreSQL's max_connections; "
        "a rolling deployment has up to twice the service's count.",
        default=1,
        check=Between(1, 10_000),
    )
    KEEP_ALIVE: int = variable(
        "Seconds an idle connection stays open; more than the load balancer's idle timeout (60).",
        default=75,
        check=Between(1, 4000),
    )
    DRAIN_DELAY: float = variable(
        "Seconds after SIGTERM in which readiness says 503 while requests are still served.",
        default=5.0,
        check=Between(0, 110),
    )
    GRACEFUL_TIMEOUT: int = variable(
        "Seconds after SIGTERM until unfinished requests are dropped, DRAIN_DELAY included; "
        "less than ECS's stopTimeout (30).",
        default=25,
        check=Between(1, 119),
    )

    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = variable(
        "Least severe level that is logged.", default="INFO"
    )
    LOG_FORMAT: Literal["json", "console"] = variable(
        "One JSON object a line, or text for people.", default="json"
    )
    SITE_URL: str | None = variable("Address that people open, for runserver to print; dev only.")
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

    def mailers(self) -> dict[str, Any]:
        """Return Django's MAILERS: empty where nobody is to send mail."""
        if self.EMAIL_URL:
            parts = urlsplit(self.EMAIL_URL)
            options = {
                "host": parts.hostname,
                "port": parts.port,
                "username": unquote(parts.username or ""),
                "password": unquote(parts.password or ""),
                # Seconds: a request waits for it.
                "timeout": 5,
            }
            return {"default": {"OPTIONS": options | MAIL_OPTIONS[parts.scheme]}}
        if self.DEBUG:
            return {"default": {"BACKEND": "backends.mail.EmailBackend"}}
        return {}


class Problem(NamedTuple):
    """One row of the table that a broken environment prints."""

    variable: str
    wrong: str
    expected: str
    where: str


class Reading(NamedTuple):
    """What was read: the environment unless there are problems, and each value's source."""

    environment: Environment | None
    problems: list[Problem]
    sources: dict[str, str]


_HINTS = typing.get_type_hints(Environment)


def _bare(hint: Any) -> Any:
    """Return the type without its ``| None``."""
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _type(field: dataclasses.Field[Any]) -> str:
    hint = _bare(_HINTS[field.name])
    if typing.get_origin(hint) is Literal:
        return " or ".join(typing.get_args(hint))
    name = {bool: "true or false", int: "whole number", float: "number", str: "text"}.get(hint, "")
    if isinstance(check := field.metadata["check"], Between):
        name += f" from {check.low} to {check.high}"
    return name


def _declared(field: dataclasses.Field[Any]) -> Variable:
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    declared: dict[str, Any] = {**field.metadata, "name": field.name, "default": default}
    declared["type"] = declared["type"] or _type(field)
    return Variable(**declared)


CONTRACT: dict[str, Variable] = {
    field.name: _declared(field) for field in dataclasses.fields(Environment)
}


def load_or_exit(*, serving: bool = False) -> Environment:
    """Read and validate the environment.

    ``serving`` refuses BUILD, whose inert values nothing may be served with. Exits with status 78
    after printing every problem to stderr when there is one.
    """
    environment, problems, _sources = read_environment()
    if serving and environment and environment.BUILD:
        row = Problem("BUILD", "On in a process that serves.", "not set", "the environment")
        environment, problems = None, [row]
    if environment is None:
        sys.stderr.write(table(problems))
        raise SystemExit(EX_CONFIG)
    return environment


def read_environment(environ: Mapping[str, str] = os.environ) -> Reading:
    """Return the environment, or all its problems. Neither these nor the sources hold a secret."""
    problems: list[Problem] = []
    given: dict[str, str] = {}
    sources: dict[str, str] = {}
    for name, entry in CONTRACT.items():
        value, source, wrong = _given(environ, entry)
        sources[name] = source
        if wrong:
            problems.append(Problem(name, wrong, entry.type, source))
        elif value is not None:
            given[name] = value

    parser = _Parser(given)
    values = {name: parser.parse(entry) for name, entry in CONTRACT.items()}
    try:
        parser.seal()
    except EnvValidationError as error:
        messages_by_name = typing.cast("dict[str, list[str]]", error.error_messages)
        for name, messages in messages_by_name.items():
            wrong = " ".join(messages)
            problems.append(Problem(name, wrong, CONTRACT[name].type, sources[name]))

    if values["BUILD"]:
        for name, entry in CONTRACT.items():
            if name not in given and entry.build_value is not None:
                values[name], sources[name] = entry.build_value, "BUILD"
    else:
        problems += _together(values, problems, environ)

    environment = None if problems else Environment(**values)
    target = values["TARGET"]
    return Reading(
        environment,
        [row._replace(where=_where(CONTRACT[row.variable], row.where, target)) for row in problems],
        sources,
    )


def _given(environ: Mapping[str, str], entry: Variable) -> tuple[str | None, str, str]:
    """Return a variable's text, where it came from, and what is wrong with that."""
    value = environ.get(entry.name)
    file_name = entry.name + FILE_SUFFIX
    file = environ.get(file_name)
    if value is None and file is None:
        return None, "default", ""
    if value is not None and file is not None:
        return None, "environment", f"Set together with {file_name}."
    if value is not None:
        return _usable(value, "environment")
    # Unless there is such a file its name stays unsaid: it may be a secret in the wrong place.
    path = Path(file or "")
    try:
        # Neither wait for a pipe nor read a device without end.
        if path.exists() and not path.is_file():
            return None, file_name, "Not the path of a file."
        with path.open("rb") as opened:
            content = opened.read(LARGEST_VALUE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return None, file_name, f"Its file cannot be read: {reason or 'not a path'}."
    source = (
        f"{file_name}={path if str(path).isascii() and str(path).isprintable() else ascii(file)}"
    )
    if len(content) > LARGEST_VALUE:
        return None, source, f"Its file is larger than {LARGEST_VALUE} bytes."
    return _usable(content.decode("utf-8", "surrogateescape"), source)


def _usable(value: str, source: str) -> tuple[str | None, str, str]:
    """Return the value without the newline that editors and `echo` leave at its end."""
    value = value.rstrip("\r\n")
    if not value.strip():
        return None, source, "Empty."
    if value != value.strip():
        return None, source, "Begins or ends with white space."
    try:
        return text(value), source, ""
    except ValidationError as error:
        return None, source, str(error.messages[0])


class _Parser(Env):
    """environs, reading from the given mapping instead of ``os.environ``."""

    def __init__(self, given: Mapping[str, str]) -> None:
        super().__init__(eager=False)
        self._given = given

    def _get_value(self, env_key: str, default: Any) -> Any:
        # The one place to hook in: environs' own FileAwareEnv does the same.
        return self._given.get(env_key, default)

    def parse(self, entry: Variable) -> Any:
        """Return the value by its type in the contract; problems wait for ``seal``."""
        hint = _bare(_HINTS[entry.name])
        checks = [entry.check] if entry.check else []
        if typing.get_origin(hint) is Literal:
            return self.str(entry.name, entry.default, validate=_one_of(typing.get_args(hint)))
        if typing.get_origin(hint) is list:
            return self.list(
                entry.name, entry.default, subcast=str.strip, validate=_each(entry.check)
            )
        parsers: dict[type, Callable[..., Any]] = {
            bool: self.bool,
            int: self.int,
            float: self.float,
            str: self.str,
        }
        return parsers[hint](entry.name, entry.default, validate=checks)


def _one_of(choices: tuple[str, ...]) -> Check:
    def check(value: str) -> None:
        if value not in choices:
            raise ValidationError("Not one of these, in this case.")

    return check


def _each(check: Check | None) -> Check:
    def check_all(entries: list[str]) -> None:
        for entry in entries:
            if check:
                check(entry)

    return check_all


def _together(
    values: Mapping[str, Any], problems: list[Problem], environ: Mapping[str, str]
) -> list[Problem]:
    """Return what single variables cannot show: what is missing, what does not go together."""
    found: list[Problem] = []
    broken = {row.variable for row in problems}
    is_set = {name for name in CONTRACT if name in environ or name + FILE_SUFFIX in environ}
    # Without a usable TARGET: what all targets ask for.
    targets: set[Target] = {values["TARGET"]} if values["TARGET"] else set(TARGETS)

    def problem(name: str, wrong: str, expected: str = "") -> None:
        if name not in broken:
            found.append(Problem(name, wrong, expected or CONTRACT[name].type, ""))

    required = {name for name, entry in CONTRACT.items() if targets <= set(entry.required_in)}
    if "DATABASE_SECRET" not in is_set:
        required.add("DATABASE_URL")
    strangers = {name.removesuffix(FILE_SUFFIX) for name in environ} - CONTRACT.keys()
    for name in CONTRACT.keys() - is_set:
        near = min((stranger for stranger in strangers if misspells(stranger, name)), default="")
        if near:
            problem(name, f"Not set, but {near} is: a misspelling?")
        elif name in required:
            problem(name, "Not set.")

    if "EMAIL_URL" in is_set and "DEFAULT_FROM_EMAIL" not in is_set:
        problem("DEFAULT_FROM_EMAIL", "Not set, while EMAIL_URL is.")
    if {"DATABASE_URL", "DATABASE_SECRET"} <= is_set:
        problem("DATABASE_URL", "Set together with DATABASE_SECRET.", "one of the two")
    if not values["DEBUG"]:
        for name, keys in (
            ("SECRET_KEY", [values["SECRET_KEY"] or ""]),
            ("SECRET_KEY_FALLBACKS", values["SECRET_KEY_FALLBACKS"] or []),
        ):
            if any(key.startswith(INSECURE_KEY_PREFIX) for key in keys):
                problem(name, "An insecure key while DEBUG is off.", "a random key")
        if "*" in (values["ALLOWED_HOSTS"] or []):
            problem("ALLOWED_HOSTS", "Holds * while DEBUG is off.", "the site's own host names")
    elif values["TARGET"] == "ecs":
        problem("DEBUG", "On in the ecs target.", "false")
    drain, graceful = values["DRAIN_DELAY"], values["GRACEFUL_TIMEOUT"]
    if drain is not None and graceful is not None and drain >= graceful:
        problem("DRAIN_DELAY", "Not less than GRACEFUL_TIMEOUT.", f"less than {graceful}")
    return found


def misspells(name: str, right: str) -> bool:
    """Return whether ``name`` is ``right`` with one letter wrong, missing, added or out of place.

    Of short names nothing is said, nor of what the image sets: NDEBUG or SPORT are names that
    others use.
    """
    if len(right) < 8 or name == right:
        return False
    letters, wanted = Counter(name), Counter(right)
    differ = max((letters - wanted).total(), (wanted - letters).total())
    return differ <= 1 and SequenceMatcher(None, name, right).ratio() > 0.85


def _where(entry: Variable, source: str, target: Target | None) -> str:
    """Say where to look: in the file that was named, or where the variable belongs."""
    if source.startswith(entry.name):
        return source
    if entry.place == "image":
        return "the image (docker/Dockerfile)"
    file = (
        TARGET_FILES.get(target or "ecs", "")
        if entry.place == "target"
        else f"env/{entry.place}.env"
    )
    return file if target == "dev" else f"{file}, or the task definition"


def _is_unicode(value: str) -> bool:
    """Return whether the value can be encoded: bytes that are not UTF-8 leave half characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def table(problems: list[Problem]) -> str:
    """Return the problems as a table of text, one row each."""
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    heading = Problem("Variable", "What is wrong", "Expected", "Where it is set")
    return f"The environment has {count}; nothing was started.\n\n" + columns(
        [heading, *sorted(problems)]
    )


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as lines of text, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        + "\n"
        for row in rows
    )

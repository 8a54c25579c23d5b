"""Read and validate the environment. No other module reads ``os.environ``; a test enforces it."""

from __future__ import annotations

import os
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from environs import Env, EnvValidationError, ValidationError

from environment.contract import CONTRACT, Environment
from environment.cross_checks import cross_checks
from environment.declaration import Validator, Variable
from environment.report import Problem, location, table
from environment.validators import validate_text

# EX_CONFIG of sysexits.h.
EX_CONFIG = 78
FILE_SUFFIX = "_FILE"
# Bytes of the largest secret in AWS Secrets Manager:
# https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
MAX_VALUE_SIZE = 65_536


class Reading(NamedTuple):
    """The environment, or its problems; and the source of each value.

    Problems and sources never contain a secret.
    """

    environment: Environment | None
    problems: list[Problem]
    sources: dict[str, str]


def load_or_exit(*, serving: bool = False) -> Environment:
    """Return the validated environment.

    On any problem, prints all of them to stderr and exits with status 78, without a traceback.
    A process that serves requests passes ``serving``, which refuses the placeholders of BUILD.
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
    """Return the validated environment, or all its problems."""
    problems: dict[str, Problem] = {}
    sources: dict[str, str] = {}
    raw: dict[str, str] = {}

    def add(name: str, wrong: str, expected: str = "") -> None:
        expected = expected or CONTRACT[name].expected
        problems.setdefault(name, Problem(name, wrong, expected, sources[name]))

    for name in CONTRACT:
        value, sources[name], wrong = _raw_value(environ, name)
        if wrong:
            add(name, wrong)
        elif value is not None:
            raw[name] = value

    parser = _Parser(raw)
    values = {name: parser.parse(variable) for name, variable in CONTRACT.items()}
    try:
        parser.seal()
    except EnvValidationError as error:
        messages_by_name = typing.cast("dict[str, list[str]]", error.error_messages)
        for name, messages in messages_by_name.items():
            add(name, " ".join(messages))

    if values["BUILD"]:
        for name, variable in CONTRACT.items():
            if name not in raw and variable.build_value is not None:
                values[name], sources[name] = variable.build_value, "BUILD"
    else:
        given = {name for name in CONTRACT if name in environ or name + FILE_SUFFIX in environ}
        others = {name.removesuffix(FILE_SUFFIX) for name in environ} - CONTRACT.keys()
        for problem in cross_checks(values, given, others):
            add(problem.variable, problem.wrong, problem.expected)

    return Reading(
        None if problems else Environment(**values),
        [
            row._replace(where=location(CONTRACT[name], row.where, values["TARGET"]))
            for name, row in problems.items()
        ],
        sources,
    )


def _raw_value(environ: Mapping[str, str], name: str) -> tuple[str | None, str, str]:
    """Return the variable's text, its source, and an error message or an empty string."""
    value = environ.get(name)
    file_name = name + FILE_SUFFIX
    file = environ.get(file_name)
    if value is None and file is None:
        return None, "default", ""
    if value is not None and file is not None:
        return None, "environment", f"Set together with {file_name}."
    if value is not None:
        return _clean_value(value, "environment")
    # An unreadable path is not printed: it may be a secret in the wrong variable.
    path = Path(file or "")
    try:
        # Reading a pipe would block, and a device may never end.
        if path.exists() and not path.is_file():
            return None, file_name, "Not the path of a file."
        with path.open("rb") as opened:
            content = opened.read(MAX_VALUE_SIZE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return None, file_name, f"Its file cannot be read: {reason or 'not a path'}."
    printable = str(path).isascii() and str(path).isprintable()
    source = f"{file_name}={path if printable else ascii(file)}"
    if len(content) > MAX_VALUE_SIZE:
        return None, source, f"Its file is larger than {MAX_VALUE_SIZE} bytes."
    return _clean_value(content.decode("utf-8", "surrogateescape"), source)


def _clean_value(value: str, source: str) -> tuple[str | None, str, str]:
    """Return the value without the newline that editors and `echo` add to a file."""
    value = value.rstrip("\r\n")
    if not value.strip():
        return None, source, "Empty."
    if value != value.strip():
        return None, source, "Begins or ends with white space."
    try:
        validate_text(value)
    except ValidationError as error:
        return None, source, str(error.messages[0])
    return value, source, ""


class _Parser(Env):
    """environs, reading from a mapping instead of ``os.environ``."""

    def __init__(self, raw: Mapping[str, str]) -> None:
        super().__init__(eager=False)
        self._raw = raw

    def _get_value(self, env_key: str, default: Any) -> Any:
        # The only hook for another source; environs' own FileAwareEnv overrides it too.
        return self._raw.get(env_key, default)

    def parse(self, variable: Variable) -> Any:
        """Return the value, or None when it is invalid; ``seal`` raises the errors."""
        name, default, hint = variable.name, variable.default, variable.annotation
        if typing.get_origin(hint) is Literal:
            return self.str(name, default, validate=_one_of(typing.get_args(hint)))
        if typing.get_origin(hint) is list:
            validate = [_each(variable.validator)] if variable.validator else []
            return self.list(name, default, subcast=str.strip, validate=validate)
        parsers: dict[type, Callable[..., Any]] = {
            bool: self.bool,
            int: self.int,
            float: self.float,
            str: self.str,
        }
        return parsers[hint](name, default, validate=variable.validator or [])


def _one_of(choices: tuple[str, ...]) -> Validator:
    def validate(value: str | None) -> None:
        if value is not None and value not in choices:
            raise ValidationError("Not one of these; the case matters.")

    return validate


def _each(validator: Validator) -> Validator:
    def validate(entries: list[str]) -> None:
        for entry in entries:
            validator(entry)

    return validate

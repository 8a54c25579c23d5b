"""Declarations of the contract's variables."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

from environs import ValidationError

Target = Literal["dev", "ecs"]
TARGETS: tuple[Target, ...] = typing.get_args(Target)

# The place where a variable is set: the image, or a file under env/. On ECS the task definition
# replaces these files, with `secrets` for the secret variables and `environment` for the rest.
Place = Literal["image", "backing-services", "migrate", "target", "secrets"]

# Takes a parsed value and raises ValidationError, with a message that never contains the value.
Validator = Callable[[Any], object]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variable:
    """One variable of the contract; ``variable`` documents the fields."""

    name: str
    annotation: Any
    expected: str
    default: Any
    meaning: str
    place: Place
    secret: bool
    required_in: tuple[Target, ...]
    build_value: Any
    validator: Validator | None


@dataclasses.dataclass(frozen=True)
class Between:
    """A validator of numbers; both bounds are allowed values."""

    low: float
    high: float

    def __call__(self, value: float) -> None:
        if not self.low <= value <= self.high:
            raise ValidationError("Out of range.")


def variable(
    meaning: str,
    *,
    default: Any = None,
    expected: str = "",
    place: Place = "target",
    secret: bool = False,
    required_in: tuple[Target, ...] = (),
    build_value: Any = None,
    validator: Validator | None = None,
) -> Any:
    """Declare one variable as a field of a dataclass; the annotation is its type.

    ``expected`` describes a valid value where the annotation does not. The targets in
    ``required_in`` refuse to start without the variable. ``build_value`` replaces a missing value
    while an image is built. ``validator`` checks the parsed value, or each entry of a list.
    """
    metadata = {
        "meaning": meaning,
        "expected": expected,
        "place": place,
        "secret": secret,
        "required_in": required_in,
        "build_value": build_value,
        "validator": validator,
    }
    # Debug pages print the repr of settings, so it must not contain a secret.
    if isinstance(default, list):
        return dataclasses.field(
            default_factory=lambda: list(default), repr=not secret, metadata=metadata
        )
    return dataclasses.field(default=default, repr=not secret, metadata=metadata)


def variables(declarations: Any) -> dict[str, Variable]:
    """Return the variables that a dataclass declares, by name."""
    annotations = typing.get_type_hints(declarations)
    return {
        field.name: _variable(field, _without_none(annotations[field.name]))
        for field in dataclasses.fields(declarations)
    }


def _variable(field: dataclasses.Field[Any], annotation: Any) -> Variable:
    factory = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    declared: dict[str, Any] = dict(field.metadata)
    declared["expected"] = declared["expected"] or _expected(annotation, declared["validator"])
    return Variable(name=field.name, annotation=annotation, default=default, **declared)


def _without_none(annotation: Any) -> Any:
    # `X | None` is a typing.Union where X is a Literal.
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return next(part for part in typing.get_args(annotation) if part is not type(None))
    return annotation


def _expected(annotation: Any, validator: Validator | None) -> str:
    if typing.get_origin(annotation) is Literal:
        return " or ".join(typing.get_args(annotation))
    names = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    bounds = f" from {validator.low} to {validator.high}" if isinstance(validator, Between) else ""
    return names.get(annotation, "") + bounds

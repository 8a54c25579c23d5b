"""Check the variables together: missing and misspelt ones, and contradictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from difflib import SequenceMatcher
from importlib.util import find_spec
from typing import Any

import dj_database_url

from environment import libpq
from environment.contract import CONTRACT
from environment.declaration import TARGETS
from environment.report import Problem
from environment.services import tls_options
from environment.validators import INSECURE_KEY_PREFIX

# https://hstspreload.org/#submission-requirements
MIN_PRELOAD_SECONDS = 31_536_000


def cross_checks(
    values: Mapping[str, Any], given: Collection[str], others: Collection[str]
) -> Iterator[Problem]:
    """Yield the problems; a variable may have several.

    ``values`` holds None for invalid values. ``given`` are the variables of the contract that are
    set, ``others`` the names in the environment that are not in the contract.
    """
    yield from _misspelt(given, others)
    yield from _missing(values, given)
    yield from _database(values, given)
    yield from _security(values)
    yield from _hsts(values)
    if values["MCP_HUB"] and find_spec("mcp") is None:
        yield Problem(
            "MCP_HUB",
            "On, but the image was built without the MCP server.",
            "false, or an image built with MCP_HUB=true",
        )
    drain, graceful = values["DRAIN_DELAY"], values["GRACEFUL_TIMEOUT"]
    if drain is not None and graceful is not None and drain >= graceful:
        yield Problem("DRAIN_DELAY", "Not less than GRACEFUL_TIMEOUT.", f"less than {graceful}")


def _misspelt(given: Collection[str], others: Collection[str]) -> Iterator[Problem]:
    for name in CONTRACT.keys() - given:
        if near := min((other for other in others if misspells(other, name)), default=""):
            yield Problem(name, f"Not set, but {near} is: a misspelling?")


def misspells(name: str, right: str) -> bool:
    """Return whether ``name`` is ``right`` with one letter wrong, missing, added or out of place.

    Skips names under eight characters: near-matches such as NDEBUG or SPORT are usually unrelated.
    """
    if len(right) < 8 or name == right:
        return False
    letters, wanted = Counter(name), Counter(right)
    differ = max((letters - wanted).total(), (wanted - letters).total())
    return differ <= 1 and SequenceMatcher(None, name, right).ratio() > 0.85


def _missing(values: Mapping[str, Any], given: Collection[str]) -> Iterator[Problem]:
    # With an invalid TARGET, only variables that every target requires can be missing.
    targets = {values["TARGET"]} if values["TARGET"] else set(TARGETS)
    required = {name for name, entry in CONTRACT.items() if targets <= set(entry.required_in)}
    if "DATABASE_SECRET" not in given:
        required.add("DATABASE_URL")
    for name in required.difference(given):
        yield Problem(name, "Not set.")
    if "EMAIL_URL" in given and "DEFAULT_FROM_EMAIL" not in given:
        yield Problem("DEFAULT_FROM_EMAIL", "Not set, while EMAIL_URL is.")
    behind_tls = values["TARGET"] == "ecs" and values["TLS_IN_FRONT"]
    if behind_tls and "TRUSTED_PROXY_COUNT" not in given:
        yield Problem(
            "TRUSTED_PROXY_COUNT",
            "Not set, while TLS_IN_FRONT is on in the ecs target.",
            "1 behind an Application Load Balancer",
        )


def _database(values: Mapping[str, Any], given: Collection[str]) -> Iterator[Problem]:
    if {"DATABASE_URL", "DATABASE_SECRET"} <= set(given):
        yield Problem("DATABASE_URL", "Set together with DATABASE_SECRET.", "one of the two")
    options = tls_options(values["DATABASE_SSLMODE"], values["DATABASE_SSLROOTCERT"])
    for name in ("DATABASE_URL", "DATABASE_DIRECT_URL", "DATABASE_OWNER_URL"):
        in_url = dj_database_url.parse(values[name] or "postgres://").get("OPTIONS", {})
        for option in options.keys() & in_url.keys():
            yield Problem(
                f"DATABASE_{option.upper()}",
                f"Set together with {option} in {name}.",
                "one of the two",
            )
        if options and libpq.refuses(in_url | options):
            yield Problem(
                f"DATABASE_{min(options).upper()}",
                "libpq refuses it together with the other TLS options.",
                "verify-full as sslmode",
            )


def _security(values: Mapping[str, Any]) -> Iterator[Problem]:
    if values["DEBUG"]:
        if values["TARGET"] == "ecs":
            yield Problem("DEBUG", "On in the ecs target.", "false")
        return
    for name, keys in (
        ("SECRET_KEY", [values["SECRET_KEY"] or ""]),
        ("SECRET_KEY_FALLBACKS", values["SECRET_KEY_FALLBACKS"] or []),
    ):
        if any(key.startswith(INSECURE_KEY_PREFIX) for key in keys):
            yield Problem(name, "An insecure key while DEBUG is off.", "a random key")
    if "*" in (values["ALLOWED_HOSTS"] or []):
        yield Problem(
            "ALLOWED_HOSTS", "Contains * while DEBUG is off.", "the site's own host names"
        )


def _hsts(values: Mapping[str, Any]) -> Iterator[Problem]:
    if not values["HSTS_PRELOAD"]:
        return
    if (values["HSTS_SECONDS"] or 0) < MIN_PRELOAD_SECONDS:
        yield Problem(
            "HSTS_SECONDS",
            "Too short for HSTS_PRELOAD.",
            f"{MIN_PRELOAD_SECONDS} or more, or HSTS_PRELOAD=false",
        )
    if values["HSTS_INCLUDE_SUBDOMAINS"] is False:
        yield Problem(
            "HSTS_INCLUDE_SUBDOMAINS",
            "Off, while HSTS_PRELOAD is on.",
            "true, or HSTS_PRELOAD=false",
        )

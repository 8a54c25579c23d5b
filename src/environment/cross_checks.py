"""Check the variables together: missing and misspelt ones, and contradictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any, NamedTuple

import dj_database_url

from environment import libpq
from environment.contract import CONTRACT
from environment.declaration import TARGETS
from environment.services import tls_options
from environment.validators import INSECURE_KEY_PREFIX

# https://hstspreload.org/#submission-requirements
MIN_PRELOAD_SECONDS = 31_536_000


class Finding(NamedTuple):
    """A problem of one variable; without ``expected``, its declared form is expected."""

    variable: str
    wrong: str
    expected: str = ""


def cross_checks(
    values: Mapping[str, Any], given: Collection[str], others: Collection[str]
) -> Iterator[Finding]:
    """Yield a finding for each problem; a variable may have several.

    ``values`` holds None for invalid values. ``given`` are the variables of the contract that are
    set, ``others`` the names in the environment that the contract does not know.
    """
    yield from _misspelt(given, others)
    yield from _missing(values, given)
    yield from _database(values, given)
    yield from _debug(values)
    yield from _hsts(values)
    drain, graceful = values["DRAIN_DELAY"], values["GRACEFUL_TIMEOUT"]
    if drain is not None and graceful is not None and drain >= graceful:
        yield Finding("DRAIN_DELAY", "Not less than GRACEFUL_TIMEOUT.", f"less than {graceful}")


def _misspelt(given: Collection[str], others: Collection[str]) -> Iterator[Finding]:
    for name in CONTRACT.keys() - given:
        if near := min((other for other in others if misspells(other, name)), default=""):
            yield Finding(name, f"Not set, but {near} is: a misspelling?")


def misspells(name: str, right: str) -> bool:
    """Return whether ``name`` is ``right`` with one letter wrong, missing, added or out of place.

    Skips names under eight characters: near-matches such as NDEBUG or SPORT are usually unrelated.
    """
    if len(right) < 8 or name == right:
        return False
    letters, wanted = Counter(name), Counter(right)
    differ = max((letters - wanted).total(), (wanted - letters).total())
    return differ <= 1 and SequenceMatcher(None, name, right).ratio() > 0.85


def _missing(values: Mapping[str, Any], given: Collection[str]) -> Iterator[Finding]:
    # With an invalid TARGET, only what every target requires.
    targets = {values["TARGET"]} if values["TARGET"] else set(TARGETS)
    required = {name for name, entry in CONTRACT.items() if targets <= set(entry.required_in)}
    if "DATABASE_SECRET" not in given:
        required.add("DATABASE_URL")
    for name in required.difference(given):
        yield Finding(name, "Not set.")
    if "EMAIL_URL" in given and "DEFAULT_FROM_EMAIL" not in given:
        yield Finding("DEFAULT_FROM_EMAIL", "Not set, while EMAIL_URL is.")
    behind_tls = values["TARGET"] == "ecs" and values["TLS_IN_FRONT"]
    if behind_tls and "TRUSTED_PROXY_COUNT" not in given:
        yield Finding(
            "TRUSTED_PROXY_COUNT",
            "Not set, while TLS_IN_FRONT is on in the ecs target.",
            "1 behind an Application Load Balancer",
        )


def _database(values: Mapping[str, Any], given: Collection[str]) -> Iterator[Finding]:
    if {"DATABASE_URL", "DATABASE_SECRET"} <= set(given):
        yield Finding("DATABASE_URL", "Set together with DATABASE_SECRET.", "one of the two")
    url_options = dj_database_url.parse(values["DATABASE_URL"] or "postgres://").get("OPTIONS", {})
    options = tls_options(values["DATABASE_SSLMODE"], values["DATABASE_SSLROOTCERT"])
    for option in options.keys() & url_options.keys():
        yield Finding(
            f"DATABASE_{option.upper()}",
            f"Set together with {option} in DATABASE_URL.",
            "one of the two",
        )
    if options and libpq.refuses(url_options | options):
        yield Finding(
            f"DATABASE_{min(options).upper()}",
            "libpq refuses it together with the other TLS options.",
            "verify-full as sslmode",
        )


def _debug(values: Mapping[str, Any]) -> Iterator[Finding]:
    if values["DEBUG"]:
        if values["TARGET"] == "ecs":
            yield Finding("DEBUG", "On in the ecs target.", "false")
        return
    for name, keys in (
        ("SECRET_KEY", [values["SECRET_KEY"] or ""]),
        ("SECRET_KEY_FALLBACKS", values["SECRET_KEY_FALLBACKS"] or []),
    ):
        if any(key.startswith(INSECURE_KEY_PREFIX) for key in keys):
            yield Finding(name, "An insecure key while DEBUG is off.", "a random key")
    if "*" in (values["ALLOWED_HOSTS"] or []):
        yield Finding(
            "ALLOWED_HOSTS", "Contains * while DEBUG is off.", "the site's own host names"
        )


def _hsts(values: Mapping[str, Any]) -> Iterator[Finding]:
    if not values["HSTS_PRELOAD"]:
        return
    if (values["HSTS_SECONDS"] or 0) < MIN_PRELOAD_SECONDS:
        yield Finding(
            "HSTS_SECONDS",
            "Too short for HSTS_PRELOAD.",
            f"{MIN_PRELOAD_SECONDS} or more, or HSTS_PRELOAD=false",
        )
    if values["HSTS_INCLUDE_SUBDOMAINS"] is False:
        yield Finding(
            "HSTS_INCLUDE_SUBDOMAINS",
            "Off, while HSTS_PRELOAD is on.",
            "true, or HSTS_PRELOAD=false",
        )

"""Compare the facts of the dev and ecs targets, and exit 1 on an unexplained difference.

Reads the output of scripts/parity_dump.py in dev, then in ecs, from stdin.
"""

from __future__ import annotations

import json
import sys
import textwrap
from fnmatch import fnmatchcase
from typing import NamedTuple

FACTS = "parity: "  # the prefix of the line that parity_dump.py prints
TOOLS = "dev tools, in the dev image only"
# Every expected difference: section, name (* and ? are wildcards, brackets are literal) and reason.
EXPECTED = (
    ("system", "user", "dev writes to the mount as the host's user; a task has a fixed user"),
    ("packages", "* (only in dev)", TOOLS),
    ("environment", "HOSTNAME", "differs for each container"),
    ("environment", "HOME", "the host's user has no home in the dev image"),
    ("environment", "TARGET", "the target itself"),
    (
        "environment",
        "DATABASE_OWNER_URL (only in dev)",
        "make up migrates in web's container, and the tests create databases",
    ),
    ("environment", "DEBUG (only in dev)", "debug pages are for developers"),
    ("environment", "LOG_FORMAT (only in dev)", "text for people; JSON for log collectors"),
    (
        "environment",
        "REPLICAS (only in ecs)",
        "the number that make up-prodlike starts; dev has one",
    ),
    ("environment", "SITE_URL (only in dev)", "runserver prints it"),
    ("environment", "DJANGO_SUPERUSER_* (only in dev)", "the sign-in that make up prints"),
    ("settings", "DEBUG", "debug pages are for developers"),
    ("settings", "DEV_TOOLS", TOOLS),
    ("settings", "INSTALLED_APPS[development] (only in dev)", "runserver and its reloader"),
    ("settings", "INSTALLED_APPS[debug_toolbar] (only in dev)", TOOLS),
    ("settings", "INSTALLED_APPS[django_browser_reload] (only in dev)", TOOLS),
    ("settings", "INSTALLED_APPS[django_watchfiles] (only in dev)", TOOLS),
    ("settings", "MIDDLEWARE[debug_toolbar.*] (only in dev)", TOOLS),
    ("settings", "MIDDLEWARE[django_browser_reload.*] (only in dev)", TOOLS),
    ("settings", "INSTALLED_APPS[zeal] (only in dev)", TOOLS),
    ("settings", "MIDDLEWARE[zeal.*] (only in dev)", TOOLS),
    ("settings", "MIGRATION_MODULES.debug_toolbar (only in dev)", TOOLS),
    (
        "settings",
        "MAILERS.default.BACKEND (only in dev)",
        "dev prints mail; the local ecs target has no mail server",
    ),
    ("settings", "DATABASES.default.OPTIONS.application_name", "contains the target and container"),
    (
        "settings",
        "STORAGES.staticfiles.BACKEND",
        "dev serves the apps' files; the ecs build hashes them",
    ),
    (
        "settings",
        "WHITENOISE_*",
        "dev serves the apps' files as they change; ecs those of the image",
    ),
    ("settings", "LOGGING.*", "text for people; JSON for log collectors"),
    ("urls", "/__reload__/* (only in dev)", TOOLS),
    ("urls", "/^__debug__/* (only in dev)", TOOLS),
    ("http", "command", "dev reloads; ecs manages processes; the same server runs in both"),
)


class Difference(NamedTuple):
    """A fact that differs. Without a reason, the difference is unexpected."""

    key: str
    dev: str | None
    ecs: str | None
    reason: str

    @property
    def name(self) -> str:
        """The key, followed by the target if only one has it."""
        if self.ecs is None:
            return f"{self.key} (only in dev)"
        return f"{self.key} (only in ecs)" if self.dev is None else self.key


def reason(section: str, name: str) -> str:
    """Return why a difference is expected, or an empty string."""
    for where, pattern, why in EXPECTED:
        plain = pattern.replace("[", "[[]")
        if where == section and fnmatchcase(name, plain):
            return why
    return ""


def compare(section: str, dev: dict[str, str], ecs: dict[str, str]) -> list[Difference]:
    """Return the differences of a section, sorted by key."""
    found = []
    for key in dev.keys() & ecs.keys():
        if key.endswith(" in order"):
            # An element that only one target has is a difference of its own.
            dev[key], ecs[key] = common(dev[key], ecs[key]), common(ecs[key], dev[key])
    for key in sorted(dev.keys() | ecs.keys()):
        if dev.get(key) != ecs.get(key):
            bare = Difference(key, dev.get(key), ecs.get(key), "")
            found.append(bare._replace(reason=reason(section, bare.name)))
        elif dev[key].startswith("not reachable"):
            # The targets agree, but an unreachable service is still a problem.
            found.append(Difference(key, dev[key], ecs[key], ""))
    return found


def common(these: str, those: str) -> str:
    """Return the words of the first text that the second one also contains, in order."""
    return " ".join(word for word in these.split() if word in those.split())


def lines(differences: list[Difference]) -> list[str]:
    """Format differences, with a paragraph for each reason."""
    paragraphs: dict[tuple[str, str], list[str]] = {}
    shown = []
    for one in differences:
        if not one.reason:
            shown.append(f"  UNEXPECTED  {one.name}: dev {short(one.dev)}, ecs {short(one.ecs)}")
        elif one.ecs is None:
            paragraphs.setdefault(("only in dev: ", one.reason), []).append(one.key)
        else:
            values = f"{one.key} {short(one.dev)} / {short(one.ecs)}" if brief(one) else one.key
            paragraphs.setdefault(("", one.reason), []).append(values)
    for (prefix, why), parts in paragraphs.items():
        text = f"{prefix}{', '.join(parts)} ({why})"
        shown += textwrap.wrap(text, 96, initial_indent="  ", subsequent_indent="    ")
    return shown


def brief(one: Difference) -> bool:
    """Return whether both values fit on one line."""
    return len(f"{one.dev}{one.ecs}") < 60


def short(value: str | None) -> str:
    """Shorten a value for the table."""
    if value is None:
        return "is missing"
    return value if len(value) < 60 else f"{value[:57]}…"


def main() -> int:
    # The targets may log lines too.
    found = [line.removeprefix(FACTS) for line in sys.stdin if line.startswith(FACTS)]
    dev, ecs = (json.loads(line) for line in found)
    unexpected = 0
    print("dev / ecs")
    for section in dev:
        differences = compare(section, dev[section], ecs[section])
        same = len(dev[section].keys() | ecs[section].keys()) - len(differences)
        facts = ""
        if section in ("system", "services", "http"):
            differing = {one.key for one in differences}
            values = [f"{k} {v}" for k, v in dev[section].items() if k not in differing]
            facts = ": " + ", ".join(values) if values else ""
        print(f"{section:<12} {same} the same{facts}")
        for line in lines(differences):
            print(line)
        unexpected += sum(not one.reason for one in differences)
    if unexpected:
        print(f"\nUnexpected differences: {unexpected}.")
        print("Remove each, or add its reason to EXPECTED in scripts/parity_compare.py.")
        return 1
    print("\nNo unexpected differences.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

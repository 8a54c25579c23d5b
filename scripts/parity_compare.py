"""Compare two targets' facts, read from stdin, and print the table; exit 1 on the unexpected.

Two lines of JSON come in, dev's and ecs's, as scripts/parity_dump.py prints them.
"""

from __future__ import annotations

import json
import sys
import textwrap
from fnmatch import fnmatchcase
from typing import NamedTuple

# Every difference there may be, with its reason: section, key (* and ? match, [ ] are plain).
FACTS = "parity: "  # what parity_dump.py's line begins with
TOOLS = "dev tools, in the dev image only"
EXPECTED = (
    ("system", "user", "dev writes to the mount as the host's user; a task's user is a number"),
    ("packages", "* (only in dev)", TOOLS),
    ("environment", "HOSTNAME", "each container has its own"),
    ("environment", "HOME", "dev's user is the host's, and has no home in the image"),
    ("environment", "TARGET", "what this compares"),
    ("environment", "DEBUG (only in dev)", "debug pages are for developers"),
    ("environment", "LOG_FORMAT (only in dev)", "text for people; JSON for log collectors"),
    ("environment", "REPLICAS (only in ecs)", "how many make up-prodlike starts; dev has one"),
    ("environment", "SITE_URL (only in dev)", "runserver prints it"),
    ("environment", "DJANGO_SUPERUSER_* (only in dev)", "the login that make up prints"),
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
        "dev prints mail; ecs has no server here",
    ),
    ("settings", "DATABASES.default.OPTIONS.application_name", "names the target and container"),
    ("settings", "STORAGES.staticfiles.BACKEND", "files from the apps, or hashed ones at build"),
    ("settings", "WHITENOISE_*", "files from the apps as they change, or the image's"),
    ("settings", "LOGGING.*", "text for people; JSON for log collectors"),
    ("urls", "/__reload__/* (only in dev)", TOOLS),
    ("urls", "/^__debug__/* (only in dev)", TOOLS),
    ("http", "command", "reload for developers; processes managed in ecs, the same server in both"),
)


class Difference(NamedTuple):
    """One fact that is not the same, and why that is right; no reason: it is not."""

    key: str
    dev: str | None
    ecs: str | None
    reason: str

    @property
    def name(self) -> str:
        """The key with the side that alone has it."""
        if self.ecs is None:
            return f"{self.key} (only in dev)"
        return f"{self.key} (only in ecs)" if self.dev is None else self.key


def reason(section: str, name: str) -> str:
    """Return why a difference is expected, or nothing."""
    for where, pattern, why in EXPECTED:
        plain = pattern.replace("[", "[[]")
        if where == section and fnmatchcase(name, plain):
            return why
    return ""


def compare(section: str, dev: dict[str, str], ecs: dict[str, str]) -> list[Difference]:
    """Return all differences of a section, by key."""
    found = []
    for key in dev.keys() & ecs.keys():
        if key.endswith(" in order"):
            # Each element that only one has is a difference of its own.
            dev[key], ecs[key] = common(dev[key], ecs[key]), common(ecs[key], dev[key])
    for key in sorted(dev.keys() | ecs.keys()):
        if dev.get(key) != ecs.get(key):
            bare = Difference(key, dev.get(key), ecs.get(key), "")
            found.append(bare._replace(reason=reason(section, bare.name)))
        elif dev[key] == "pending" or dev[key].startswith("not reachable"):
            # The same in both, and wrong in both.
            found.append(Difference(key, dev[key], ecs[key], ""))
    return found


def common(these: str, those: str) -> str:
    """Return these words in their order, without what the others lack."""
    return " ".join(word for word in these.split() if word in those.split())


def lines(differences: list[Difference]) -> list[str]:
    """Return the differences for people: those of one reason in one paragraph."""
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
    """Tell whether both values fit into a line."""
    return len(f"{one.dev}{one.ecs}") < 60


def short(value: str | None) -> str:
    """Return a value as the table shows it."""
    if value is None:
        return "has none"
    return value if len(value) < 60 else f"{value[:57]}…"


def main() -> int:
    """Print the table and return the exit status."""
    # Between the facts may stand what the targets log.
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
        print(
            f"\n{unexpected} unexpected: mend it, or give the reason in scripts/parity_compare.py."
        )
        return 1
    print("\nNothing unexpected.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Describes the machine, engine and commit that a result was measured on."""

from __future__ import annotations

import json
import platform
import re
from datetime import date
from pathlib import Path

from scripts.stack.engine import run


def describe() -> dict[str, str]:
    engine = json.loads(run("docker", "info", "--format", "{{json .}}").stdout)
    commit = run("git", "rev-parse", "--short=10", "HEAD", check=False).stdout.strip()
    changed = run("git", "status", "--porcelain", "--", "src", "docker", "scripts", check=False)
    return {
        "processor": f"{_processor()}, {engine['NCPU']} cores",
        "memory": f"{engine['MemTotal'] / 2**30:.0f} GB",
        "system": f"{engine['OperatingSystem']}, kernel {engine['KernelVersion']}",
        "engine": f"Docker {engine['ServerVersion']}, {engine['Driver']}",
        "code": (commit or "unknown") + (" and changes" if changed.stdout else ""),
        "measured": date.today().isoformat(),
    }


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()

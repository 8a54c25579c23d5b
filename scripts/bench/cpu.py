"""Processor time of a container, from its cgroup."""

from __future__ import annotations

from scripts.stack.engine import run

# cgroup v2 counts microseconds, v1 nanoseconds.
READ = (
    "cat /sys/fs/cgroup/cpu.stat 2>/dev/null"
    " || echo usage_nsec $(cat /sys/fs/cgroup/cpuacct/cpuacct.usage)"
)
UNITS = {"usage_usec": 1e6, "usage_nsec": 1e9}


def seconds_of(container: str) -> float:
    """Return the processor time, in seconds, that a container has used so far."""
    name, value = run("docker", "exec", container, "sh", "-c", READ).stdout.split()[:2]
    return int(value) / UNITS[name]

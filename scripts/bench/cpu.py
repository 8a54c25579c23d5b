"""Processor time of a container, as the kernel counts it."""

from __future__ import annotations

from scripts.stack.engine import run

# cgroup v2 counts microseconds, v1 nanoseconds.
READ = (
    "cat /sys/fs/cgroup/cpu.stat 2>/dev/null"
    " || echo usage_nsec $(cat /sys/fs/cgroup/cpuacct/cpuacct.usage)"
)
UNITS = {"usage_usec": 1e6, "usage_nsec": 1e9}


def seconds_of(container: str) -> float:
    """Return the seconds of processor time that a container's processes have used so far."""
    name, value = run("docker", "exec", container, "sh", "-c", READ).stdout.split()[:2]
    return int(value) / UNITS[name]

"""The test suite leaves no process behind and cannot be reached from other machines."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from tests import forked

# Like gunicorn: a child process that would outlive its parent.
PARENT = """
import os, time
from pathlib import Path
if child := os.fork():
    Path("written").write_text(str(child))
    os.rename("written", "child")
time.sleep(60)
"""


def test_timeout_kills_child_processes_too(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        forked.run("-c", PARENT, env={}, cwd=tmp_path, timeout=3)
    child = int((tmp_path / "child").read_text())
    end = time.monotonic() + 5
    while _is_running(child):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::"])  # noqa: S104
def test_no_test_listens_beyond_loopback(tmp_path: Path, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server, pytest.raises(AssertionError, match="Not loopback"):
        server.bind((host, 0))
    code = f"import socket; socket.socket(socket.{family.name}).bind(({host!r}, 0))"
    refused = forked.run("-c", code, env={}, cwd=tmp_path)
    assert refused.returncode == 1
    assert "Not loopback" in refused.stderr


def _is_running(pid: int) -> bool:
    """Return whether the process exists and is not a zombie that waits for its parent."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"

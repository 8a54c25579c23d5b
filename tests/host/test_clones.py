"""Clones in unusual folders, and beside other programs."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.host.clone import SERVICES
from tests.host.conftest import MakeClone

RUNNING = dict.fromkeys(SERVICES, "running")


def test_clone_with_spaces_and_long_path_runs_beside_another(
    make_clone: MakeClone,
) -> None:
    # A Unix socket's path is limited to 107 bytes.
    name = "with some spaces/and a long name/" + "/".join(["x" * 40] * 3)
    deep = make_clone(name, mcp_hub=False)
    assert len(str(deep.folder)) > 140
    plain = make_clone(mcp_hub=False)
    deep.make("up")
    plain.make("up")
    assert deep.states() == plain.states() == RUNNING
    deep.sql("CREATE TABLE kept AS SELECT 1 AS one")
    assert plain.sql("SELECT to_regclass('kept')") == [(None,)]
    plain.make("reset", "FORCE=1")
    assert set(plain.states().values()) == {"stopped"}
    assert deep.states() == RUNNING
    assert deep.sql("SELECT count(*) FROM kept") == [(1,)]


def test_all_taken_ports_are_reported_with_their_owner(make_clone: MakeClone) -> None:
    clone = make_clone()
    with (
        socket.create_server(("127.0.0.1", clone.port["postgres"])),
        socket.create_server(("127.0.0.1", clone.port["web"])),
    ):
        said = clone.make("up", status=2)
    for service in ("postgres", "web"):
        assert f"Port {clone.port[service]} is taken by python" in said
        assert f"(pid {os.getpid()}). Stop it, or choose another port" in said
    assert "POSTGRES_PORT=" in said
    assert "WEB_PORT=" in said
    assert "Traceback" not in said
    assert set(clone.states().values()) == {"stopped"}


def test_invalid_port_gives_one_line_error(make_clone: MakeClone) -> None:
    said = make_clone().make("up", REDIS_PORT="80000", status=2)
    assert "REDIS_PORT must be one port from 1 to 65535" in said
    assert "(got '80000')" in said
    assert "Traceback" not in said


def test_up_writes_only_inside_the_clone(make_clone: MakeClone, tmp_path: Path) -> None:
    clone = make_clone(mcp_hub=False)
    beside = set(clone.folder.parent.iterdir())
    clone.make("up", HOME=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert set(clone.folder.parent.iterdir()) == beside
    assert clone.folder.parent.stat().st_mode & 0o777 == 0o700

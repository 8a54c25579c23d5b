"""Starting, stopping and killing processes. The tests share one clone and run in this order."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import psycopg
import pytest
from dotenv import dotenv_values

from scripts.host import unprivileged
from scripts.stack.project_copy import ROOT
from tests.host.clone import SERVICES, Clone
from tests.host.conftest import MakeClone, running_below

RUNNING = dict.fromkeys(SERVICES, "running")
KEPT = "SELECT count(*) FROM kept"


@pytest.fixture(scope="module")
def clone(make_clone: MakeClone) -> Clone:
    """A running clone with a row that must never be lost."""
    clone = make_clone()
    clone.make("up")
    clone.sql("CREATE TABLE kept AS SELECT 1 AS one")
    return clone


@pytest.fixture
def other_process() -> Iterator[subprocess.Popen[bytes]]:
    """An unrelated process of the user that PostgreSQL runs as."""
    user = unprivileged.USER if os.geteuid() == 0 else None
    process = subprocess.Popen(["sleep", "600"], user=user)
    yield process
    process.kill()
    process.wait()


def kill(*processes: psutil.Process) -> None:
    """Kill processes that are not children of this one, and wait until they have ended."""
    for process in processes:
        process.kill()
    deadline = time.monotonic() + 5
    while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def family(clone: Clone) -> list[psutil.Process]:
    leaders = [clone.process(name) for name in SERVICES]
    return [one for leader in leaders for one in [leader, *leader.children(recursive=True)]]


def listening(process: psutil.Process) -> set[str]:
    """Return the addresses that a process and its children listen on."""
    return {
        connection.laddr.ip
        for one in [process, *process.children(recursive=True)]
        for connection in one.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def test_up_listens_on_loopback_only(clone: Clone) -> None:
    assert clone.states() == RUNNING
    status, page = clone.get("/admin/login/")
    assert status == 200
    assert 'name="password"' in page
    assert {ip for name in SERVICES for ip in listening(clone.process(name))} == {"127.0.0.1"}


def test_postgres_does_not_run_as_root(clone: Clone) -> None:
    assert clone.process("postgres").uids().effective != 0


def test_second_up_changes_nothing(clone: Clone) -> None:
    before = {name: clone.process(name).pid for name in SERVICES}
    clone.make("up")
    assert {name: clone.process(name).pid for name in SERVICES} == before


def test_changed_configuration_restarts_only_web_and_worker(clone: Clone) -> None:
    before = {name: clone.process(name).pid for name in SERVICES}
    with (clone.folder / "env/dev.env").open("a") as file:
        file.write("LOG_LEVEL=DEBUG\n")
    clone.make("up")
    after = {name: clone.process(name).pid for name in SERVICES}
    assert [name for name in SERVICES if after[name] != before[name]] == ["web", "worker"]
    assert clone.process("web").environ()["LOG_LEVEL"] == "DEBUG"


def test_public_superuser_password_is_rejected(clone: Clone) -> None:
    public = dotenv_values(ROOT / "env/postgres.env")["POSTGRES_PASSWORD"]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(
            host="127.0.0.1", port=clone.port["postgres"], user="postgres", password=public
        )
    assert (clone.folder / ".local/postgres.password").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("service", SERVICES)
def test_killed_process_is_reported_and_restarted(clone: Clone, service: str) -> None:
    kill(clone.process(service))
    states = clone.states()
    assert states.pop(service) in ("killed", "half killed")
    assert set(states.values()) == {"running"}
    clone.make("up")
    assert clone.states() == RUNNING
    assert clone.get("/readyz")[0] == 200
    assert clone.sql(KEPT) == [(1,)]


def test_up_works_after_a_reboot(clone: Clone) -> None:
    kill(*family(clone))
    assert all(state == "killed" for state in clone.states().values())
    clone.make("up")
    assert clone.states() == RUNNING
    assert clone.sql(KEPT) == [(1,)]


def test_reused_pid_is_not_killed(clone: Clone, other_process: subprocess.Popen[bytes]) -> None:
    kill(*family(clone))
    for name in SERVICES:
        record = clone.record(name) | {"pid": other_process.pid}
        clone.record_file(name).write_text(json.dumps(record))
    # PostgreSQL has a pid file too, and refuses to start while a process has that pid.
    lock = clone.folder / ".local/postgres/postmaster.pid"
    lock.write_text(
        lock.read_text().replace(lock.read_text().split()[0], str(other_process.pid), 1)
    )
    assert set(clone.states().values()) == {"killed"}
    clone.make("down")
    assert other_process.poll() is None
    clone.make("up")
    assert other_process.poll() is None
    assert clone.states() == RUNNING
    assert clone.sql(KEPT) == [(1,)]


def test_up_prodlike_and_up_replace_only_web_and_worker(clone: Clone) -> None:
    before = {name: clone.process(name).pid for name in SERVICES}
    said = clone.make("up-prodlike")
    assert "This is no container" in said
    assert "gunicorn" in " ".join(clone.process("web").cmdline())
    assert listening(clone.process("web")) == {"127.0.0.1"}
    assert clone.process("web").environ()["TARGET"] == "ecs"
    assert clone.process("worker").environ()["TARGET"] == "ecs"
    (stylesheet,) = re.findall(r"/static/site\.[0-9a-f]{12}\.css", clone.get("/")[1])
    assert clone.get(stylesheet)[0] == 200
    clone.make("up")
    after = {name: clone.process(name).pid for name in SERVICES}
    assert (after["postgres"], after["redis"]) == (before["postgres"], before["redis"])
    assert clone.process("web").environ()["TARGET"] == "dev"


@pytest.mark.parametrize(
    ("variable", "instead"), [("REPLICAS", "WORKERS"), ("WORKER_REPLICAS", "TASK_CONCURRENCY")]
)
def test_several_replicas_give_one_line_error(clone: Clone, variable: str, instead: str) -> None:
    said = clone.make("up-prodlike", **{variable: "2"}, status=2)
    assert f"{variable} must be 1 without Docker (got '2')" in said
    assert f"or set {instead} for" in said


def test_tls_gives_one_line_error(clone: Clone) -> None:
    said = clone.make("up-prodlike", TLS="1", status=2)
    assert "TLS=1 needs Docker." in said


def test_tests_run_on_their_own_servers_and_stop_them(clone: Clone) -> None:
    before = {name: clone.process(name).pid for name in SERVICES}
    said = clone.make("test", "T=tests/home", WEB_PORT=str(clone.port["web"]))
    assert " passed" in said
    assert {name: clone.process(name).pid for name in SERVICES} == before
    assert list((clone.folder / ".local/test/run").iterdir()) == []


def test_down_stops_everything_and_keeps_the_data(clone: Clone) -> None:
    before = family(clone)
    clone.make("down")
    assert psutil.wait_procs(before, timeout=5)[1] == []
    assert set(clone.states().values()) == {"stopped"}
    clone.make("migrate")
    assert clone.states() == RUNNING | {"web": "stopped", "worker": "stopped"}
    assert clone.sql(KEPT) == [(1,)]


def test_down_stops_the_servers_of_a_killed_test_run(clone: Clone) -> None:
    servers = clone.folder / ".local/test"
    with subprocess.Popen(
        ["make", "test", "T=tests/home"],
        cwd=clone.folder,
        env=clone.environ(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    ) as run:
        deadline = time.monotonic() + 60
        while not (servers / "run/redis.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGKILL)
    assert running_below(servers)
    clone.make("down")
    assert running_below(servers) == []

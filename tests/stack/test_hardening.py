"""The ecs target runs with the rights and limits of a hardened Fargate task.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/security-tasks-containers.html
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

from scripts.stack.engine import ROOT, Container, Stack, wait_for

# Prints every directory that the user can write to.
WRITABLE = """
import os, tempfile
for directory, _, _ in os.walk("/"):
    if directory.startswith(("/proc", "/sys")):
        continue
    try:
        with tempfile.TemporaryFile(dir=directory):
            print(directory)
    except OSError:
        pass
"""
# Prints the credentials of every process.
STATUS = """
import pathlib
for status in pathlib.Path("/proc").glob("[0-9]*/status"):
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    fields = {name: value.strip() for name, value in fields.items()}
    if pathlib.Path(f"/proc/{fields['Pid']}").exists():
        names = "Pid PPid Name Uid Gid CapEff CapBnd NoNewPrivs".split()
        print(*(fields[name] for name in names), sep="|")
"""
# The engine adds /dev/mqueue: message queues of this container, in memory.
ALLOWED = ("/tmp/", "/dev/shm/", "/dev/mqueue/")  # noqa: S108
NO_CAPABILITY = "0" * 16


def processes(web: Container) -> dict[int, dict[str, str]]:
    """Return the container's processes by id, without the one that lists them."""
    names = ("pid", "parent", "name", "uid", "gid", "effective", "bounding", "no_new_privileges")
    rows = [
        dict(zip(names, line.split("|"), strict=True)) for line in web.python(STATUS).splitlines()
    ]
    return {int(row["pid"]): row for row in rows if row["name"] not in ("python", "runc")}


def test_no_process_has_or_can_gain_root_capabilities(web: Container) -> None:
    for row in processes(web).values():
        assert row["uid"].split() == ["10001"] * 4
        assert row["gid"].split() == ["10001"] * 4
        assert row["effective"] == row["bounding"] == NO_CAPABILITY
        assert row["no_new_privileges"] == "1"
    # A numeric user id lets a scheduler verify that the user is not root.
    assert web.inspect()["Config"]["User"] == "10001:10001"


def test_processes_form_one_tree_under_an_init(web: Container) -> None:
    found = processes(web)
    assert found[1]["name"] == "docker-init"
    (master,) = [pid for pid, row in found.items() if row["parent"] == "1"]
    workers = [pid for pid, row in found.items() if row["parent"] == str(master)]
    assert len(workers) == 2
    assert set(found) == {1, master, *workers}


def test_only_tmp_and_shared_memory_are_writable(web: Container) -> None:
    writable = web.python(WRITABLE).split()
    assert {"/tmp", "/dev/shm"} <= set(writable)  # noqa: S108
    assert not [path for path in writable if not f"{path}/".startswith(ALLOWED)]


def test_root_file_system_is_read_only_and_nothing_is_mounted(web: Container) -> None:
    root = next(line for line in web.exec("cat", "/proc/mounts").splitlines() if " / " in line)
    assert "ro" in root.split()[3].split(",")
    assert web.inspect()["Mounts"] == []


def test_limits_match_a_small_fargate_task(web: Container) -> None:
    def limit(name: str) -> str:
        return web.exec("cat", f"/sys/fs/cgroup/{name}").strip()

    if web.exec("sh", "-c", "test -e /sys/fs/cgroup/cpu.max && echo v2", check=False):
        quota, period = map(int, limit("cpu.max").split())
        memory, pids = limit("memory.max"), limit("pids.max")
    else:
        quota, period = int(limit("cpu/cpu.cfs_quota_us")), int(limit("cpu/cpu.cfs_period_us"))
        memory, pids = limit("memory/memory.limit_in_bytes"), limit("pids/pids.max")
    assert quota / period == 0.5
    assert int(memory) == 1024**3
    assert int(pids) == 256
    files = web.python("import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))")
    assert files.split() == [os.environ["NOFILE"]] * 2


def test_request_longer_than_dockers_default_timeout_survives_a_stop(stack: Stack) -> None:
    """Docker kills a container after 10 s unless Compose gives it more. ECS waits for 30 s."""
    container = stack.start(
        *("gunicorn", "--config", "/app/docker/gunicorn.conf.py", "slow:application"),
        env={"PYTHONPATH": "/app/src:/tests"},
        options=("--volume", f"{ROOT}/tests/stack/apps:/tests:ro"),
    )
    try:
        browser = container.wait_ready().browser()
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(browser.get, "/slow/13", timeout=20)
            time.sleep(1)
            container.docker("stop")
            assert answer.result().status == 200
        assert container.inspect()["State"]["ExitCode"] == 0
    finally:
        container.remove()


def test_start_logs_no_warning_and_no_error(stack: Stack) -> None:
    container = stack.start()
    try:
        container.wait_ready()
        # Both workers must be ready, not just the one that answered.
        wait_for(lambda: container.logs().count("Application startup complete") == 2, 30)
        boot = container.records()
    finally:
        container.remove()
    assert [row for row in boot if row["level"] != "info"] == []

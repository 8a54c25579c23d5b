"""A container of the ecs target may do no more than a hardened Fargate task may.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/security-tasks-containers.html
"""

from __future__ import annotations

import os

from scripts.stack.engine import Container, Stack, wait_for

# Every directory of the file system that the user may write to.
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
STATUS = """
import pathlib
for status in pathlib.Path("/proc").glob("[0-9]*/status"):
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    fields = {name: value.strip() for name, value in fields.items()}
    if pathlib.Path(f"/proc/{fields['Pid']}").exists():
        names = "Pid PPid Name Uid Gid CapEff CapBnd NoNewPrivs".split()
        print(*(fields[name] for name in names), sep="|")
"""
# The last is the engine's own: message queues, in memory, of this container alone.
ALLOWED = ("/tmp/", "/dev/shm/", "/dev/mqueue/")  # noqa: S108
NO_CAPABILITY = "0" * 16


def processes(web: Container) -> dict[int, dict[str, str]]:
    """Return the container's processes by id, without the one that looks."""
    names = ("pid", "parent", "name", "uid", "gid", "effective", "bounding", "no_new_privileges")
    rows = [
        dict(zip(names, line.split("|"), strict=True)) for line in web.python(STATUS).splitlines()
    ]
    return {int(row["pid"]): row for row in rows if row["name"] not in ("python", "runc")}


def test_no_process_has_root_capabilities_or_a_way_to_get_them(web: Container) -> None:
    for row in processes(web).values():
        assert row["uid"].split() == ["10001"] * 4
        assert row["gid"].split() == ["10001"] * 4
        assert row["effective"] == row["bounding"] == NO_CAPABILITY
        assert row["no_new_privileges"] == "1"
    # By number, for a scheduler that must see that it is not root.
    assert web.inspect()["Config"]["User"] == "10001:10001"


def test_processes_are_one_tree_under_an_init(web: Container) -> None:
    found = processes(web)
    assert found[1]["name"] == "docker-init"
    (master,) = [pid for pid, row in found.items() if row["parent"] == "1"]
    workers = [pid for pid, row in found.items() if row["parent"] == str(master)]
    assert len(workers) == 2
    assert set(found) == {1, master, *workers}


def test_only_tmp_and_shared_memory_can_be_written(web: Container) -> None:
    writable = web.python(WRITABLE).split()
    assert {"/tmp", "/dev/shm"} <= set(writable)  # noqa: S108
    assert not [path for path in writable if not f"{path}/".startswith(ALLOWED)]


def test_the_root_file_system_is_read_only(web: Container) -> None:
    root = next(line for line in web.exec("cat", "/proc/mounts").splitlines() if " / " in line)
    assert "ro" in root.split()[3].split(",")


def test_limits_are_those_of_a_small_task(web: Container) -> None:
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


def test_boot_log_has_neither_warning_nor_error(stack: Stack) -> None:
    container = stack.start()
    try:
        container.wait_ready()
        # One worker may be ready before the other.
        wait_for(lambda: container.logs().count("Application startup complete") == 2, 30)
        boot = container.records()
    finally:
        container.remove()
    assert [row for row in boot if row["level"] != "info"] == []

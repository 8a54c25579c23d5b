"""Every problem that make doctor finds: engine states, versions, ports, volumes and files.

A stub of `docker` answers for engines that this machine does not have.
tests/stack/projects/test_doctor.py uses the real engine. Each problem must end with status 1, a
sentence that names it and a command.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
CANARY = "canary0dIeS1ifPRINTED"

# The answers of a healthy engine, as branches of a shell `case` over the command's arguments.
HEALTHY = {
    '"version --format {{.Server.Os}}/"*': "echo linux/amd64",
    '"version --format"*': "echo 28.5.2",
    '"compose version"*': "echo 2.40.3",
    '"buildx version"': "echo github.com/docker/buildx v0.29.1 abcdef",
    '"buildx inspect"': "echo Platforms: linux/amd64, linux/386",
    '"info --format"*': "echo 8000000000",
    '"image inspect --format"*': "echo PG_MAJOR=18",
    '"image inspect"*': "exit 0",
    '"volume inspect"*': "exit 1",
    '"ps "*': "exit 0",
    '*" run --rm --no-deps -T "*': "inside",
}
# The answers of a container of the dev target. A test can replace each line.
INSIDE = {
    "clock": 'echo "clock $(date +%s)"',
    "disk": "echo disk 50000",
    "mount": 'echo "mount $(cat .local/doctor/nonce)"',
    "written": "touch .local/doctor/written",
    "watch": "echo watch yes",
}
# The answers of `docker ps` while the stack runs.
RUNNING = 'case "$*" in *service=postgres*) echo 0123;; *service=web*) echo 4567;; *) ;; esac'


@dataclasses.dataclass
class Clone:
    """A copy of the files that the doctor reads, and a stub of docker."""

    folder: Path
    engine: dict[str, str] = dataclasses.field(default_factory=dict)
    inside: dict[str, str] = dataclasses.field(default_factory=dict)
    environ: dict[str, str] = dataclasses.field(default_factory=dict)

    def edit(self, name: str, text: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write(text)

    def doctor(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        stub = self.folder / "bin/docker"
        inside = "\n".join((INSIDE | self.inside).values())
        arms = "\n".join(f"{pattern}) {answer} ;;" for pattern, answer in self.engine.items())
        healthy = "\n".join(f"{pattern}) {answer} ;;" for pattern, answer in HEALTHY.items())
        stub.write_text(
            f"#!/bin/sh\ninside() {{\n{inside}\n}}\n"
            f'case "$*" in\n{arms}\n{healthy}\n*) echo "stub: $*" >&2; exit 1 ;;\nesac\n'
        )
        stub.chmod(0o755)
        return subprocess.run(
            ["sh", "scripts/doctor", *arguments],
            cwd=self.folder,
            env={"PATH": f"{stub.parent}:{os.defpath}", "HOME": "/nowhere"} | self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A clone without a problem."""
    for name in ("scripts", "env"):
        shutil.copytree(
            ROOT / name,
            tmp_path / name,
            ignore=shutil.ignore_patterns("bench", "host", "__pycache__", "secrets.env"),
        )
    shutil.copy(ROOT / "compose.base.yml", tmp_path)
    (tmp_path / "bin").mkdir()
    secrets = tmp_path / "env/secrets.env"
    secrets.write_text(f"SECRET_KEY={CANARY * 3}\n")
    secrets.chmod(0o600)
    names = ("WEB_PORT", "POSTGRES_PORT", "REDIS_PORT")
    ports = dict(zip(names, map(str, free_ports(3)), strict=True))
    return Clone(tmp_path, environ=ports | {"COMPOSE_PROJECT_NAME": "clone"})


def _engine(**answers: str) -> Callable[[Clone], None]:
    patterns = {
        "version": '"version --format"*',
        "compose": '"compose version"*',
        "buildx": '"buildx version"',
        "platforms": '"buildx inspect"',
        "memory": '"info --format"*',
        "no_image": '"image inspect "*postgres:18*',
        "pull": '"pull "*',
        "no_dev_image": '"image inspect clone-dev"',
        "volume": '"volume inspect"*',
        "cluster": '"run --rm --network none"*',
        "ps": '"ps "*',
        "exec": '"exec "*',
        "download": '"run --rm --volume"*',
        "run": '*" run --rm --no-deps -T "*',
    }
    return lambda clone: clone.engine.update(
        {patterns[name]: answer for name, answer in answers.items()}
    )


def _inside(**lines: str) -> Callable[[Clone], None]:
    return lambda clone: clone.inside.update(lines)


def _append(name: str, text: str) -> Callable[[Clone], None]:
    return lambda clone: clone.edit(name, text)


def _set(**variables: str) -> Callable[[Clone], None]:
    return lambda clone: clone.environ.update(variables)


def _remove(name: str) -> Callable[[Clone], None]:
    return lambda clone: (clone.folder / name).unlink()


def _both(*changes: Callable[[Clone], None]) -> Callable[[Clone], None]:
    def change(clone: Clone) -> None:
        for one in changes:
            one(clone)

    return change


NO_HOST = "dial tcp: lookup registry.example: no such host"
CERTIFICATE = "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]'))"

# name: (change that causes the problem, part of the sentence, part of the remedy)
PROBLEMS: dict[str, tuple[Callable[[Clone], None], str, str]] = {
    "engine silent": (
        _engine(version="echo Cannot connect to the Docker daemon >&2; exit 1"),
        "No Docker engine answers",
        "make up RUNTIME=host",
    ),
    "engine forbidden": (
        _engine(version="echo permission denied while trying to connect >&2; exit 1"),
        "no permission to use the Docker engine",
        "sudo usermod -aG docker",
    ),
    "engine hangs": (
        _engine(version="exec sleep 30"),
        "No Docker engine answers",
        "make up RUNTIME=host",
    ),
    "engine old": (
        _engine(version="echo 24.0.9"),
        "Docker Engine 24.0.9 is older than 25",
        "make up RUNTIME=host",
    ),
    "compose missing": (
        _engine(compose="exit 1"),
        "Compose plugin is missing",
        "apt-get install docker-compose-plugin",
    ),
    "compose old": (
        _engine(compose="echo v2.23.3"),
        "Compose v2.23.3 is older than 2.24",
        "--only-upgrade docker-compose-plugin",
    ),
    "buildx missing": (
        _engine(buildx="exit 1"),
        "Buildx plugin, which builds the images, is missing",
        "apt-get install docker-buildx-plugin",
    ),
    "platform unknown to ECS": (
        _set(PLATFORM="linux/riscv64"),
        "built for linux/riscv64, and ECS runs only linux/amd64 and linux/arm64",
        "make build PLATFORM=linux/amd64",
    ),
    "platform not emulated": (
        _set(PLATFORM="linux/arm64"),
        "The engine runs linux/amd64 and cannot emulate linux/arm64",
        "binfmt --install arm64",
    ),
    "memory short": (
        _engine(memory="echo 1000000000"),
        "The engine has 1000 MB of memory",
        "colima start --memory",
    ),
    "disk short": (
        _inside(disk="echo disk 1200"),
        "The engine has 1200 MB of disk left",
        "docker builder prune",
    ),
    "no image, no registry": (
        _engine(no_image="exit 1", pull=f"echo {NO_HOST} >&2; exit 1"),
        "has no postgres:18 and cannot pull it",
        "make up RUNTIME=host",
    ),
    "network inspects TLS": (
        _engine(no_dev_image="exit 1", download=f'echo "{CERTIFICATE}"; echo FAILED'),
        "cannot verify the package index's certificate",
        "CA_BUNDLE=/",
    ),
    "no package index": (
        _engine(no_dev_image="exit 1", download="echo timed out; echo FAILED"),
        "cannot reach the package index",
        "docker info",
    ),
    "CA bundle missing": (
        _set(CA_BUNDLE="/nowhere/ca.crt"),
        "CA_BUNDLE does not name a file of PEM certificates",
        "CA_BUNDLE=/etc/ssl/certs",
    ),
    "clock off": (
        _inside(clock='echo "clock $(($(date +%s) - 600))"'),
        "clock differs from this machine's by -60",
        "date -s",
    ),
    "folder not shared": (
        _inside(mount="echo mount"),
        "Containers do not see this folder",
        "git clone . ~/",
    ),
    "folder not writable": (
        _inside(written=":"),
        "no permission to write here",
        "sudo chown -R",
    ),
    "no file events": (
        _inside(watch="echo watch no"),
        "no events for changed files",
        "WATCHFILES_FORCE_POLLING=true",
    ),
    "values refused": (
        _inside(env='printf "1\n2\n3\nPORT  Out of range.\n" >.local/doctor/problems'),
        "Environment: PORT  Out of range.",
        "make env",
    ),
    "container does not start": (
        _engine(run="echo no space left on device >&2; exit 1"),
        "does not start: no space left on device",
        "make build",
    ),
    "volume of an older major": (
        _engine(volume="exit 0", cluster="echo 17 data/"),
        "created by PostgreSQL 17, but postgres:18 is PostgreSQL 18",
        "make db-upgrade",
    ),
    "volume of a newer major": (
        _engine(volume="exit 0", cluster="echo 18 18/docker/; echo 19 19/docker/"),
        "created by PostgreSQL 19, and postgres:18 is older",
        "make up POSTGRES_IMAGE=postgres:19",
    ),
    "volume with another password": (
        _engine(ps=RUNNING, exec='echo "FATAL:  password authentication failed for user" >&2'),
        "created with another password than env/backing-services.env",
        "10-app.sql",
    ),
    "volume of another database": (
        _engine(ps=RUNNING, exec="echo 'FATAL:  database \"other\" does not exist' >&2"),
        "created for another database or role",
        "10-app.sql",
    ),
    "no worker": (_engine(ps=RUNNING), "No worker runs", "make logs ARGS=worker"),
    "worker unhealthy": (
        _engine(
            ps='case "$*" in *=worker*) echo "Up 2 minutes (unhealthy)" ;; *) echo 4567 ;; esac'
        ),
        "No worker runs",
        "make logs ARGS=worker",
    ),
    "migrations pending": (
        _engine(ps=RUNNING, exec="""echo '1 {"migrations": "pending"}'"""),
        "unapplied migrations",
        "make migrate",
    ),
    "containers of another clone": (
        _engine(ps='case "$*" in *working_dir*) echo /home/me/other;; esac'),
        "The clone in /home/me/other already has containers of the project clone",
        "COMPOSE_PROJECT_NAME=clone-2",
    ),
    "port of another container": (
        _engine(ps='case "$*" in *publish=*) echo "blog blog-web-1";; esac'),
        "(WEB_PORT) is already in use by the container blog-web-1",
        "make up WEB_PORT=",
    ),
    "port is a word": (
        _set(WEB_PORT="http"),
        "WEB_PORT must be a port from 1 to 65535 or a range of ports (got 'http')",
        "WEB_PORT=8000",
    ),
    "port too large": (_set(WEB_PORT="80000"), "(got '80000')", "WEB_PORT=8000"),
    "port range backwards": (_set(WEB_PORT="8002-8000"), "(got '8002-8000')", "WEB_PORT=8000"),
    "misspelt variable": (
        _append("env/dev.env", f"DATBASE_URL={CANARY}\n"),
        "DATBASE_URL is not a variable of the contract. Did you mean DATABASE_URL?",
        "sed -i.bak s/^DATBASE_URL=/DATABASE_URL=/ env/dev.env",
    ),
    "misspelt file variable": (
        _append("env/secrets.env", "SECRET_KYE_FILE=/run/secrets/key\n"),
        "Did you mean SECRET_KEY?",
        "env/secrets.env",
    ),
    "unknown variable": (
        _append("env/ecs-local.env", "QQQQQQ=1\n"),
        "QQQQQQ is not a variable of the contract.",
        "env/ecs-local.env",
    ),
    "dollar that Compose expands": (
        _append("env/secrets.env", f"DJANGO_SUPERUSER_PASSWORD={CANARY}$word\n"),
        "Compose would expand the $ in DJANGO_SUPERUSER_PASSWORD",
        "env/secrets.env",
    ),
    "quote not closed": (
        _append("env/secrets.env", f"DJANGO_SUPERUSER_PASSWORD='{CANARY}\n"),
        "the quote in DJANGO_SUPERUSER_PASSWORD is not closed",
        "env/secrets.env",
    ),
    "empty value": (_append("env/dev.env", "LOG_LEVEL=\n"), "LOG_LEVEL is empty", "env/dev.env"),
    "not a setting": (
        _append("env/dev.env", f"{CANARY}\n"),
        "not of the form NAME=value",
        "dev.env",
    ),
    "set twice": (
        _append("env/dev.env", "DEBUG=false\n"),
        "DEBUG is set twice",
        "env/dev.env",
    ),
    "env file missing": (
        _remove("env/backing-services.env"),
        "env/backing-services.env is missing",
        "git checkout -- env/backing-services.env",
    ),
    "secrets readable by others": (
        lambda clone: (clone.folder / "env/secrets.env").chmod(0o644),
        "Other users can read env/secrets.env",
        "chmod 600 env/secrets.env",
    ),
}


def _found(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    return [row for row in json.loads(done.stdout) if row["status"] == "bad"]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.waits] if case == "engine hangs" else [])
        for case in PROBLEMS
    ],
)
def test_problem_is_reported_with_its_remedy(case: str, clone: Clone) -> None:
    change, sentence, remedy = PROBLEMS[case]
    change(clone)
    clone.environ["JSON"] = "1"
    done = clone.doctor("docker")
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(sentence in row["text"] and remedy in row["remedy"] for row in _found(done)), (
        done.stdout
    )
    assert CANARY not in done.stdout + done.stderr
    assert done.stderr == ""


def test_healthy_machine_has_no_problems(clone: Clone) -> None:
    done = clone.doctor("docker")
    assert done.returncode == 0, done.stdout
    assert "No problems found." in done.stdout
    assert "Problem:" not in done.stdout
    assert not (clone.folder / ".local/doctor").exists()


@pytest.mark.parametrize(
    ("runtime", "checks"),
    [
        (
            "docker",
            "engine compose buildx platform memory images project_name volume password "
            "owner_password migrations worker ports ca_bundle env_files secrets_mode package_index "
            "dev_container",
        ),
        ("host", "python disk ports ca_bundle env_files secrets_mode environment"),
    ],
)
def test_every_check_reports_something(clone: Clone, runtime: str, checks: str) -> None:
    """A check that fails to run would otherwise look like one that finds no problem."""
    bundle = clone.folder / "ca.crt"
    bundle.write_text("-----BEGIN CERTIFICATE-----\n")
    clone.environ |= {"JSON": "1", "CA_BUNDLE": str(bundle)}
    rows = json.loads(clone.doctor(runtime).stdout)
    assert list(dict.fromkeys(row["check"] for row in rows)) == checks.split()


def _processes_in(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # Any process may end meanwhile.
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == folder:
                found.append((process / "cmdline").read_text())
    return found


def test_doctor_leaves_no_process_behind(clone: Clone) -> None:
    assert clone.doctor("docker").returncode == 0
    time.sleep(2)
    assert _processes_in(clone.folder) == []


@pytest.mark.parametrize(
    ("platform", "architecture"),
    [("", "X86_64"), ("linux/amd64", "X86_64"), ("linux/arm64", "ARM64")],
)
def test_platform_and_its_name_in_ecs_are_reported(
    platform: str, architecture: str, clone: Clone
) -> None:
    clone.environ["PLATFORM"] = platform
    clone.engine['"buildx inspect"'] = "echo Platforms: linux/amd64, linux/arm64, linux/386"
    done = clone.doctor("docker")
    assert done.returncode == 0
    assert f"The images are built for {platform or 'linux/amd64'}" in done.stdout
    assert f"runtimePlatform.cpuArchitecture {architecture}." in done.stdout


def test_other_processor_is_no_problem_for_make_up(clone: Clone) -> None:
    clone.engine['"version --format {{.Server.Os}}/"*'] = "echo linux/riscv64"
    assert clone.doctor("docker", "quick", "dev").returncode == 0
    clone.environ["PLATFORM"] = "linux/mips"
    done = clone.doctor("docker", "quick", "dev")
    assert done.returncode == 1
    assert "built for linux/mips" in done.stderr


def test_text_and_json_reports_agree(clone: Clone) -> None:
    clone.engine['"compose version"*'] = "echo 2.1"
    text = clone.doctor("docker").stdout
    clone.environ["JSON"] = "1"
    (row,) = _found(clone.doctor("docker"))
    assert f"Problem: {row['text']}\n    Try: {row['remedy']}\n" in text


def test_quick_mode_prints_problems_only(clone: Clone) -> None:
    done = clone.doctor("docker", "quick", "dev")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    clone.engine['"compose version"*'] = "echo 2.1"
    done = clone.doctor("docker", "quick", "dev")
    assert done.returncode == 1
    assert done.stderr.count("Problem: ") == 1


def test_built_image_needs_no_check_of_the_build_tools(clone: Clone) -> None:
    clone.engine['"compose version"*'] = "echo 2.1"
    assert clone.doctor("docker", "built", "dev").returncode == 0
    clone.environ["WEB_PORT"] = "http"
    done = clone.doctor("docker", "built", "dev")
    assert done.returncode == 1
    assert "WEB_PORT must be a port" in done.stderr


def test_several_problems_are_reported_at_once(clone: Clone) -> None:
    for case in ("compose old", "buildx missing", "set twice", "secrets readable by others"):
        PROBLEMS[case][0](clone)
    clone.environ["JSON"] = "1"
    assert len(_found(clone.doctor("docker"))) == 4


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        yield port


@pytest.mark.parametrize("runtime", ["docker", "host"])
def test_port_in_use_is_reported_with_a_free_one(runtime: str, clone: Clone, taken: int) -> None:
    clone.environ |= {"REDIS_PORT": str(taken), "JSON": "1"}
    done = clone.doctor(runtime)
    assert done.returncode == 1
    (row,) = [row for row in _found(done) if row["check"] == "ports"]
    assert row["text"].startswith(f"Port {taken} (REDIS_PORT) is already in use by ")
    suggested = int(row["remedy"].removeprefix("make up REDIS_PORT="))
    assert suggested > taken
    socket.create_server(("127.0.0.1", suggested)).close()  # raises when it is in use


def test_ecs_overlay_needs_only_the_web_port(clone: Clone, taken: int) -> None:
    clone.environ["REDIS_PORT"] = str(taken)
    assert clone.doctor("docker", "quick", "ecs").returncode == 0


def test_port_of_own_container_is_no_problem(clone: Clone, taken: int) -> None:
    clone.environ["WEB_PORT"] = str(taken)
    clone.engine['"ps "*'] = 'case "$*" in *publish=*) echo "clone clone-web-1";; esac'
    assert clone.doctor("docker").returncode == 0


def test_missing_secrets_are_a_problem_for_ecs_only(clone: Clone) -> None:
    _remove("env/secrets.env")(clone)
    assert clone.doctor("docker", "quick", "dev").returncode == 0
    done = clone.doctor("docker", "quick", "ecs")
    assert done.returncode == 1
    assert "env/secrets.env is missing" in done.stderr
    assert "sh scripts/make-secrets" in done.stderr


def test_files_are_checked_without_an_engine(clone: Clone) -> None:
    PROBLEMS["engine silent"][0](clone)
    PROBLEMS["set twice"][0](clone)
    clone.environ["JSON"] = "1"
    assert [row["check"] for row in _found(clone.doctor("docker"))] == ["engine", "env_files"]

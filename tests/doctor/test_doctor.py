"""make doctor's catalogue: engine states, versions, ports, volumes and files that are not right.

A stub of `docker` plays the engines that this machine has not; tests/stack/test_doctor.py asks the
real one. Each case must end with status 1, one sentence that names the thing, and a command.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CANARY = "canary0dIeS1ifPRINTED"

# What a sound engine answers, as arms of a shell's case over the command's arguments.
SOUND = {
    '"version --format"*': "echo 28.5.2",
    '"compose version"*': "echo 2.40.3",
    '"buildx version"': "echo github.com/docker/buildx v0.29.1 abcdef",
    '"info --format"*': "echo 8000000000",
    '"image inspect --format"*': "echo PG_MAJOR=18",
    '"image inspect"*': "exit 0",
    '"volume inspect"*': "exit 1",
    '"ps "*': "exit 0",
    '*" run --rm --no-deps -T "*': "inside",
}
# What a container of the dev target says of itself; each line can be replaced.
INSIDE = {
    "clock": 'echo "clock $(date +%s)"',
    "disk": "echo disk 50000",
    "mount": 'echo "mount $(cat .local/doctor/nonce)"',
    "written": "touch .local/doctor/written",
    "watch": "echo watch yes",
    "env": "echo env 0",
}
# What `docker ps` says while the stack runs.
RUNNING = 'case "$*" in *service=postgres*) echo 0123;; *service=web*) echo 4567;; *) ;; esac'


@dataclasses.dataclass
class Clone:
    """A copy of what the doctor reads, to break, and a stub of docker."""

    folder: Path
    engine: dict[str, str] = dataclasses.field(default_factory=dict)
    inside: dict[str, str] = dataclasses.field(default_factory=dict)
    environ: dict[str, str] = dataclasses.field(default_factory=dict)

    def edit(self, name: str, text: str) -> None:
        """Append to a file."""
        with (self.folder / name).open("a") as file:
            file.write(text)

    def doctor(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the doctor in the clone."""
        stub = self.folder / "bin/docker"
        inside = "\n".join((INSIDE | self.inside).values())
        arms = "\n".join(f"{pattern}) {answer} ;;" for pattern, answer in self.engine.items())
        sound = "\n".join(f"{pattern}) {answer} ;;" for pattern, answer in SOUND.items())
        stub.write_text(
            f"#!/bin/sh\ninside() {{\n{inside}\n}}\n"
            f'case "$*" in\n{arms}\n{sound}\n*) echo "stub: $*" >&2; exit 1 ;;\nesac\n'
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
    """A clone in which nothing is wrong."""
    for name in ("scripts", "env"):
        shutil.copytree(
            ROOT / name,
            tmp_path / name,
            ignore=shutil.ignore_patterns("bench", "host", "__pycache__", "secrets.env"),
        )
    for name in ("compose.base.yml", "src/environment/contract.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    secrets = tmp_path / "env/secrets.env"
    secrets.write_text(f"SECRET_KEY={CANARY * 3}\n")
    secrets.chmod(0o600)
    ports = dict(zip(("WEB_PORT", "POSTGRES_PORT", "REDIS_PORT"), map(str, _free(3)), strict=True))
    return Clone(tmp_path, environ=ports | {"COMPOSE_PROJECT_NAME": "clone"})


def _free(count: int) -> list[int]:
    # Not of those that the system gives out: a test beside this one may be given it next.
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(15_000, 30_000)  # noqa: S311 - no secret
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            # In the list twice, it would be a fault for the doctor to find.
            ports += [port] if port not in ports else []
    return ports


def _engine(**answers: str) -> Callable[[Clone], None]:
    patterns = {
        "version": '"version --format"*',
        "compose": '"compose version"*',
        "buildx": '"buildx version"',
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

# name: (what is broken, what the sentence says, what the command says)
BROKEN: dict[str, tuple[Callable[[Clone], None], str, str]] = {
    "engine silent": (
        _engine(version="echo Cannot connect to the Docker daemon >&2; exit 1"),
        "No Docker engine answers",
        "make up RUNTIME=host",
    ),
    "engine forbidden": (
        _engine(version="echo permission denied while trying to connect >&2; exit 1"),
        "may not talk to the Docker engine",
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
        "it has no postgres:18, and no registry in reach has it either",
        "make up RUNTIME=host",
    ),
    "network inspects TLS": (
        _engine(no_dev_image="exit 1", download=f'echo "{CERTIFICATE}"; echo FAILED'),
        "cannot verify the package index's certificate",
        "CA_BUNDLE=/",
    ),
    "no package index": (
        _engine(no_dev_image="exit 1", download="echo timed out; echo FAILED"),
        "does not reach the package index",
        "docker info",
    ),
    "CA bundle missing": (
        _set(CA_BUNDLE="/nowhere/ca.crt"),
        "CA_BUNDLE names no file of PEM certificates",
        "CA_BUNDLE=/etc/ssl/certs",
    ),
    "clock off": (
        _inside(clock='echo "clock $(($(date +%s) - 600))"'),
        "The engine's clock is -60",
        "date -s",
    ),
    "folder not shared": (
        _inside(mount="echo mount"),
        "Containers do not see this folder",
        "git clone . ~/",
    ),
    "folder not writable": (
        _inside(written=":"),
        "may not write here",
        "sudo chown -R",
    ),
    "no file events": (
        _inside(watch="echo watch no"),
        "Changed files are not noticed",
        "WATCHFILES_FORCE_POLLING=true",
    ),
    "values refused": (
        _inside(env='printf "1\n2\n3\nPORT  Out of range.\n" >.local/doctor/problems; echo env 78'),
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
        "made by PostgreSQL 17, and postgres:18 is 18",
        "make db-upgrade",
    ),
    "volume of a newer major": (
        _engine(volume="exit 0", cluster="echo 18 18/docker/; echo 19 19/docker/"),
        "made by PostgreSQL 19, and postgres:18 is older",
        "make up POSTGRES_IMAGE=postgres:19",
    ),
    "volume with another password": (
        _engine(ps=RUNNING, exec='echo "FATAL:  password authentication failed for user" >&2'),
        "made with another password than env/backing-services.env",
        "10-app.sql",
    ),
    "volume of another database": (
        _engine(ps=RUNNING, exec="echo 'FATAL:  database \"other\" does not exist' >&2"),
        "made for another database or role",
        "10-app.sql",
    ),
    "migrations pending": (
        _engine(ps=RUNNING, exec="""echo '1 {"migrations": "pending"}'"""),
        "migrations that the database lacks",
        "make migrate",
    ),
    "containers of another clone": (
        _engine(ps='case "$*" in *working_dir*) echo /home/me/other;; esac'),
        "already has containers, of the clone in /home/me/other",
        "COMPOSE_PROJECT_NAME=clone-2",
    ),
    "port of another container": (
        _engine(ps='case "$*" in *publish=*) echo "blog blog-web-1";; esac'),
        "(WEB_PORT) is taken by the container blog-web-1",
        "make up WEB_PORT=",
    ),
    "port is a word": (_set(WEB_PORT="http"), "WEB_PORT is 'http': not a port", "WEB_PORT=8000"),
    "port too large": (_set(WEB_PORT="80000"), "WEB_PORT is '80000'", "WEB_PORT=8000"),
    "port range backwards": (_set(WEB_PORT="8002-8000"), "'8002-8000'", "WEB_PORT=8000"),
    "misspelt variable": (
        _append("env/dev.env", f"DATBASE_URL={CANARY}\n"),
        "DATBASE_URL is no variable of the contract; the nearest is DATABASE_URL",
        "sed -i.bak s/^DATBASE_URL=/DATABASE_URL=/ env/dev.env",
    ),
    "misspelt file variable": (
        _append("env/secrets.env", "SECRET_KYE_FILE=/run/secrets/key\n"),
        "the nearest is SECRET_KEY",
        "env/secrets.env",
    ),
    "unknown variable": (
        _append("env/ecs-local.env", "QQQQQQ=1\n"),
        "QQQQQQ is no variable of the contract.",
        "env/ecs-local.env",
    ),
    "dollar that Compose eats": (
        _append("env/secrets.env", f"DJANGO_SUPERUSER_PASSWORD={CANARY}$word\n"),
        "DJANGO_SUPERUSER_PASSWORD holds a $ that Compose would eat",
        "env/secrets.env",
    ),
    "quote not closed": (
        _append("env/secrets.env", f"DJANGO_SUPERUSER_PASSWORD='{CANARY}\n"),
        "has a quote that is not closed",
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
        "DEBUG stands here twice",
        "env/dev.env",
    ),
    "env file missing": (
        _remove("env/backing-services.env"),
        "env/backing-services.env is missing",
        "git checkout -- env/backing-services.env",
    ),
    "secrets readable for others": (
        lambda clone: (clone.folder / "env/secrets.env").chmod(0o644),
        "env/secrets.env is readable for others",
        "chmod 600 env/secrets.env",
    ),
}


def _found(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    return [row for row in json.loads(done.stdout) if row["status"] == "bad"]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.waits] if case == "engine hangs" else [])
        for case in BROKEN
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(case: str, clone: Clone) -> None:
    change, says, remedy = BROKEN[case]
    change(clone)
    clone.environ["JSON"] = "1"
    done = clone.doctor("docker")
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(says in row["text"] and remedy in row["remedy"] for row in _found(done)), done.stdout
    assert CANARY not in done.stdout + done.stderr
    assert done.stderr == ""


def test_all_is_well(clone: Clone) -> None:
    done = clone.doctor("docker")
    assert done.returncode == 0, done.stdout
    assert "All is well." in done.stdout
    assert "Wrong" not in done.stdout
    assert not (clone.folder / ".local/doctor").exists()


def test_text_and_json_say_the_same(clone: Clone) -> None:
    clone.engine['"compose version"*'] = "echo 2.1"
    text = clone.doctor("docker").stdout
    clone.environ["JSON"] = "1"
    (row,) = _found(clone.doctor("docker"))
    assert f"Wrong: {row['text']}\n       Try: {row['remedy']}\n" in text


def test_before_up_only_what_is_wrong_is_said(clone: Clone) -> None:
    done = clone.doctor("docker", "quick", "dev")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    clone.engine['"compose version"*'] = "echo 2.1"
    done = clone.doctor("docker", "quick", "dev")
    assert done.returncode == 1
    assert done.stderr.count("Wrong: ") == 1


def test_several_faults_are_said_at_once(clone: Clone) -> None:
    for case in ("compose old", "buildx missing", "set twice", "secrets readable for others"):
        BROKEN[case][0](clone)
    clone.environ["JSON"] = "1"
    assert len(_found(clone.doctor("docker"))) == 4


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("runtime", ["docker", "host"])
def test_taken_port_is_said_and_another_offered(runtime: str, clone: Clone, taken: int) -> None:
    clone.environ |= {"REDIS_PORT": str(taken), "JSON": "1"}
    done = clone.doctor(runtime)
    assert done.returncode == 1
    (row,) = [row for row in _found(done) if row["check"] == "ports"]
    assert row["text"].startswith(f"Port {taken} (REDIS_PORT) is taken by ")
    offered = int(row["remedy"].removeprefix("make up REDIS_PORT="))
    assert offered > taken
    # It is free.
    socket.create_server(("127.0.0.1", offered)).close()


def test_the_ecs_overlay_needs_the_port_of_web_only(clone: Clone, taken: int) -> None:
    clone.environ["REDIS_PORT"] = str(taken)
    assert clone.doctor("docker", "quick", "ecs").returncode == 0


def test_own_container_may_hold_the_port(clone: Clone, taken: int) -> None:
    clone.environ["WEB_PORT"] = str(taken)
    clone.engine['"ps "*'] = 'case "$*" in *publish=*) echo "clone clone-web-1";; esac'
    assert clone.doctor("docker").returncode == 0


def test_the_ecs_target_needs_its_secrets(clone: Clone) -> None:
    _remove("env/secrets.env")(clone)
    assert clone.doctor("docker", "quick", "dev").returncode == 0
    done = clone.doctor("docker", "quick", "ecs")
    assert done.returncode == 1
    assert "env/secrets.env is missing" in done.stderr
    assert "sh scripts/make-secrets" in done.stderr


def test_without_an_engine_the_files_are_still_looked_at(clone: Clone) -> None:
    BROKEN["engine silent"][0](clone)
    BROKEN["set twice"][0](clone)
    clone.environ["JSON"] = "1"
    assert [row["check"] for row in _found(clone.doctor("docker"))] == ["engine", "env_files"]

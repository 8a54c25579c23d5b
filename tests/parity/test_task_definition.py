"""The translation of Compose services into ECS task definitions."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from scripts import parity_task_definition as parity

ROOT = Path(__file__).parents[2]
WEB: dict[str, Any] = json.loads((ROOT / "tests/parity/config.json").read_text())["services"]["web"]
# Keys that the services do not use.
FURTHER = {
    "cap_add": ["SYS_PTRACE"],
    "command": ["gunicorn"],
    "entrypoint": ["tini"],
    "platform": "linux/arm64",
    "ports": [{"target": 8000, "published": "8000", "protocol": "tcp"}],
    "user": "10001:10001",
}


def found(service: dict[str, Any]) -> list[str]:
    """Return the problems of a service."""
    return list(parity.problems(service, parity.task_definition("methodhub", "web", service)))


def with_change(path: str, value: Any) -> dict[str, Any]:
    """Return the service with one key changed, or removed if the value is None."""
    service = copy.deepcopy(WEB)
    *parents, leaf = path.split(".")
    part = service
    for parent in parents:
        part = part[parent]
    part[leaf] = value
    if value is None:
        del part[leaf]
    return service


def test_service_becomes_a_task_definition_for_fargate() -> None:
    assert parity.task_definition("methodhub", "web", WEB) == {
        "family": "methodhub-web",
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "executionRoleArn": "arn:aws:iam::123456789012:role/ecsTaskExecutionRole",
        "cpu": "512",
        "memory": "1024",
        "containerDefinitions": [
            {
                "name": "web",
                "essential": True,
                "image": "methodhub-ecs",
                "environment": [
                    {"name": "ALLOWED_HOSTS", "value": "localhost"},
                    {"name": "TLS_IN_FRONT", "value": "false"},
                ],
                "secrets": [
                    {
                        "name": name,
                        "valueFrom": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"
                        f"methodhub/{name}",
                    }
                    for name in ("DATABASE_URL", "SECRET_KEY")
                ],
                "portMappings": [{"containerPort": 8000, "protocol": "tcp"}],
                "healthCheck": {
                    "command": ["CMD", "python", "-c", "pass"],
                    "interval": 10,
                    "timeout": 3,
                    "retries": 3,
                    "startPeriod": 60,
                },
                "readonlyRootFilesystem": True,
                "linuxParameters": {
                    "capabilities": {"drop": ["ALL"]},
                    "initProcessEnabled": True,
                    "tmpfs": [
                        {"containerPath": "/tmp", "size": 128, "mountOptions": ["mode=1777"]}  # noqa: S108
                    ],
                },
                "ulimits": [{"name": "nofile", "softLimit": 65535, "hardLimit": 65535}],
                "stopTimeout": 30,
            }
        ],
    }


def test_service_that_fargate_accepts_has_no_problems() -> None:
    assert found(WEB) == []
    assert found(WEB | FURTHER) == []


@pytest.mark.parametrize("key", parity.TRANSLATED)
def test_each_translated_key_changes_the_request(key: str) -> None:
    service: dict[str, Any] = copy.deepcopy(WEB | FURTHER)
    before = parity.task_definition("methodhub", "web", service)
    name, _, part = key.partition(".")
    if not part:
        del service[name]
    else:
        for entry in service[name] if isinstance(service[name], list) else [service[name]]:
            entry.pop(part)

    assert parity.task_definition("methodhub", "web", service) != before


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("cap_add", ["NET_ADMIN"], 'cap_add is "NET_ADMIN". Fargate adds SYS_PTRACE only.'),
        ("cpus", 0.3, "cpus is 0.299805 and mem_limit 1024 MiB. Fargate has no task of this size"),
        ("mem_limit", None, "memswap_limit is 1073741824. A Fargate task has no swap"),
        ("memswap_limit", "2147483648", "memswap_limit is 2147483648. A Fargate task has no swap"),
        ("memswap_limit", None, "memswap_limit is not set. A Fargate task has no swap"),
        ("healthcheck.interval", "1s", "healthcheck.interval is 1. ECS takes 5 to 300."),
        ("healthcheck.interval", "7.5s", "healthcheck.interval is 7.5. ECS takes 5 to 300."),
        ("healthcheck.retries", 11, "healthcheck.retries is 11. ECS takes 1 to 10."),
        ("healthcheck.start_period", "5m1s", "healthcheck.start_period is 301. ECS takes 0 to 300"),
        ("healthcheck.timeout", "1s", "healthcheck.timeout is 1. ECS takes 2 to 60."),
        ("stop_grace_period", "2m1s", "stop_grace_period is 121. Fargate takes 2 to 120."),
        ("platform", "linux/riscv64", 'platform is "linux/riscv64". Fargate has X86_64 and ARM64.'),
        ("privileged", True, "privileged is true. Fargate runs no privileged container."),
        ("network_mode", "host", 'network_mode is "host". A Fargate task has its own network'),
        ("pid", "host", 'pid is "host". A Fargate task cannot use its host.'),
        (
            "ulimits",
            {"nproc": 64},
            'ulimits is {"name": "nproc", "softLimit": 64, "hardLimit": 64}.',
        ),
        (
            "ulimits",
            {"nofile": {"soft": 65535, "hard": 65536}},
            'ulimits is {"name": "nofile", "softLimit": 65535, "hardLimit": 65536}. Fargate chan',
        ),
        ("volumes", [{"type": "bind"}], 'volumes is {"type": "bind"}. Fargate mounts no folder'),
        (
            "ports",
            [{"target": 8000, "published": "80"}],
            'ports.published as another port is "80". A Fargate task\'s host port is its container',
        ),
        (
            "logging",
            {"driver": "json-file"},
            "logging.driver is in no table of scripts/parity_task",
        ),
        ("healthcheck.disable", True, "healthcheck.disable is in no table of scripts/parity_task"),
        ("security_opt", ["seccomp=unconfined"], "security_opt.seccomp is in no table of scripts"),
    ],
)
def test_key_that_fargate_refuses_is_one_problem(path: str, value: Any, problem: str) -> None:
    problems = found(with_change(path, value))

    assert problems[0].startswith(problem)
    # Without a memory limit, the task has no size either.
    assert len(problems) == (2 if path == "mem_limit" else 1)


def test_undeclared_variable_is_refused_and_left_out() -> None:
    service = with_change("environment.SENTRY_DSN", "https://canary@example.com/1")

    assert found(service) == [
        "environment.SENTRY_DSN may be a secret, because the contract does not declare it. "
        "Declare it in src/environment/contract.py."
    ]
    assert "canary" not in json.dumps(parity.task_definition("methodhub", "web", service))


def test_table_in_architecture_lists_every_key() -> None:
    rows = {key: f"`{field.removeprefix('/')}`" for key, (field, _) in parity.TRANSLATED.items()}
    rows["environment"] = "`environment`, and `secrets` for the secret variables of the contract"
    rows |= {key: f"Not on Fargate: {reason}." for key, reason in parity.NOT_ON_FARGATE.items()}
    rows |= {key: f"Local only: {reason}." for key, reason in parity.LOCAL_ONLY.items()}
    lines = ["| Compose key | in the task definition |", "| --- | --- |"]
    expected = [*lines, *(f"| `{key}` | {text} |" for key, text in rows.items())]
    text = (ROOT / "ARCHITECTURE.md").read_text()
    table = re.search(
        r"(?<=<!-- Compose keys: begin -->\n).*?(?=<!-- Compose keys: end)", text, re.S
    )

    assert table, "the markers are missing"
    assert table[0].splitlines() == expected, "\n".join(["copy this table:", *expected])

"""Translate the services of the ecs target into task definitions for ECS on Fargate.

Reads the output of `docker compose config --format json` from stdin. Exits 1 if Fargate refuses a
service, or if a service has a Compose key that no table below lists. Nothing leaves the machine.
"""

from __future__ import annotations

import ipaddress
import json
import re
import sys
import textwrap
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
REQUESTS = ".local/task-definitions.json"
# Placeholders: nothing is deployed.
REGION = "eu-central-1"
ACCOUNT = "123456789012"
VARIABLES = [line.split("\t") for line in (ROOT / "env/variables.tsv").read_text().splitlines()]
SECRETS = {row[0] for row in VARIABLES if row[2:3] == ["secret"]}
PLAIN = {row[0] for row in VARIABLES if row[2:3] == ["-"]}
# Names of Docker and of ECS.
ARCHITECTURES = {"linux/amd64": "X86_64", "linux/arm64": "ARM64"}


def same(value: Any) -> Any:
    return value


def seconds(duration: str) -> float:
    """Return the seconds of a Compose duration such as 1m30s: an int if they are whole."""
    units = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    parts = re.findall(r"([\d.]+)(h|ms|m|s)", duration)
    total = sum(float(number) * units[unit] for number, unit in parts)
    return int(total) if total == int(total) else total


def tmpfs(mounts: list[str]) -> list[dict[str, Any]]:
    """Return mounts such as /tmp:size=128m,mode=1777. Without a size, botocore refuses them."""
    found: list[dict[str, Any]] = []
    for mount in mounts:
        path, _, options = mount.partition(":")
        size = re.search(r"size=(\d+)m", options)
        others = [one for one in options.split(",") if one and not one.startswith("size=")]
        found.append({"containerPath": path, "mountOptions": others})
        if size:
            found[-1]["size"] = int(size[1])
    return found


def ulimits(limits: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the limits, which Compose gives as one number or as a soft and a hard one."""
    pairs = {k: v if isinstance(v, dict) else {"soft": v, "hard": v} for k, v in limits.items()}
    return [
        {"name": name, "softLimit": pair["soft"], "hardLimit": pair["hard"]}
        for name, pair in pairs.items()
    ]


def is_secret(name: str) -> bool:
    return name.removesuffix("_FILE") in SECRETS


def is_plain(name: str) -> bool:
    return name.removesuffix("_FILE") in PLAIN


def environment(variables: dict[str, str | None]) -> list[dict[str, str]]:
    """Return the variables that the contract declares and that are not secret."""
    plain = {k: v for k, v in variables.items() if v is not None and is_plain(k)}
    return [{"name": name, "value": value} for name, value in plain.items()]


def secrets(variables: dict[str, str | None]) -> list[dict[str, str]]:
    """Return a reference for each secret variable, never its value.

    ECS injects secrets as variables and not as files, so NAME_FILE becomes NAME.
    """
    names = [name.removesuffix("_FILE") for name in variables if is_secret(name)]
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:methodhub"
    return [{"name": name, "valueFrom": f"{arn}/{name}"} for name in names]


# Four tables list every Compose key that a service may have. A key such as healthcheck.test is a
# part of a larger one.

# The field that a key becomes, and the conversion of its value. A field belongs to the container
# definition, or to the whole task if it starts with a slash.
TRANSLATED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "cap_add": ("linuxParameters.capabilities.add", same),
    "cap_drop": ("linuxParameters.capabilities.drop", same),
    "command": ("command", same),
    "cpus": ("/cpu", lambda cpus: str(int(cpus * 1024))),
    "entrypoint": ("entryPoint", same),
    "environment": ("environment", environment),
    "healthcheck.interval": ("healthCheck.interval", seconds),
    "healthcheck.retries": ("healthCheck.retries", same),
    "healthcheck.start_period": ("healthCheck.startPeriod", seconds),
    "healthcheck.test": ("healthCheck.command", same),
    "healthcheck.timeout": ("healthCheck.timeout", seconds),
    "image": ("image", same),
    "init": ("linuxParameters.initProcessEnabled", same),
    "mem_limit": ("/memory", lambda size: str(int(size) // 1024**2)),
    "platform": ("/runtimePlatform.cpuArchitecture", lambda name: ARCHITECTURES.get(name, name)),
    "ports.protocol": ("portMappings[].protocol", same),
    "ports.published": (
        "portMappings[].hostPort",
        lambda ports: [port and int(port) for port in ports],
    ),
    "ports.target": ("portMappings[].containerPort", same),
    "read_only": ("readonlyRootFilesystem", same),
    "stop_grace_period": ("stopTimeout", seconds),
    # Fargate supports it since January 2026 (github.com/aws/containers-roadmap/issues/736).
    "tmpfs": ("linuxParameters.tmpfs", tmpfs),
    "ulimits": ("ulimits", ulimits),
    "user": ("user", same),
}
NOT_ON_FARGATE = {
    "depends_on": "a task definition orders only the containers of one task; PostgreSQL and Redis "
    "are managed services, and a deployment runs migrate before it updates web and worker",
    "healthcheck.start_interval": "ECS keeps one interval, also while a container starts",
    "memswap_limit": "a task has no swap, so the limit must equal mem_limit",
    "pids_limit": "ECS has no field for it",
    "secrets": "ECS passes secrets as variables, not as files, so a private authority's "
    "certificate must be in the image or on an EFS volume",
    "security_opt.no-new-privileges": "Fargate does not support dockerSecurityOptions",
}
LOCAL_ONLY = {
    "build": "a pipeline builds the image and pushes it to a registry",
    "labels": "make finds the running target by its label",
    "networks": "each task has its own address, and security groups restrict access to it",
    "ports.host_ip": "a load balancer connects to the task's address",
    "ports.mode": "Compose prints it for Swarm",
    "ports.published on loopback": "it serves this machine's browser",
    "pull_policy": "ECS pulls the image for every task",
    "restart": "the ECS service replaces a task that stops",
}


class Rule(NamedTuple):
    """The values that Fargate allows, a sentence about them, and its page in AWS's documentation.

    Of a list, each element must be allowed.
    """

    allowed: Container[Any]
    sentence: str
    page: str


class OpenFiles:
    """The limits of open files that Fargate allows, as elements of ulimits."""

    def __contains__(self, limit: Any) -> bool:
        is_nofile: bool = limit["name"] == "nofile"
        return is_nofile and 0 < limit["softLimit"] <= limit["hardLimit"] <= 65535


DOCS = "https://docs.aws.amazon.com/AmazonECS/latest"
DIFFERENCES = "developerguide/fargate-tasks-services.html"
API = "APIReference/API_"
NEVER: tuple[()] = ()
NO_HOST = Rule(NEVER, "A Fargate task cannot use its host.", DIFFERENCES)
OWN_NETWORK = Rule(NEVER, "A Fargate task has its own network interface and DNS.", DIFFERENCES)
FARGATE = {
    "cap_add": Rule(
        {"SYS_PTRACE"}, "Fargate adds SYS_PTRACE only.", API + "KernelCapabilities.html"
    ),
    "devices": NO_HOST,
    "dns": OWN_NETWORK,
    "dns_search": OWN_NETWORK,
    "extra_hosts": OWN_NETWORK,
    "healthcheck.interval": Rule(range(5, 301), "ECS takes 5 to 300.", API + "HealthCheck.html"),
    "healthcheck.retries": Rule(range(1, 11), "ECS takes 1 to 10.", API + "HealthCheck.html"),
    "healthcheck.start_period": Rule(range(301), "ECS takes 0 to 300.", API + "HealthCheck.html"),
    "healthcheck.timeout": Rule(range(2, 61), "ECS takes 2 to 60.", API + "HealthCheck.html"),
    "ipc": NO_HOST,
    "links": OWN_NETWORK,
    "mem_swappiness": Rule(NEVER, "A Fargate task has no swap.", DIFFERENCES),
    "network_mode": OWN_NETWORK,
    "pid": NO_HOST,
    "platform": Rule(
        {"X86_64", "ARM64"}, "Fargate has X86_64 and ARM64.", API + "RuntimePlatform.html"
    ),
    "ports.published as another port": Rule(
        NEVER, "A Fargate task's host port is its container port.", API + "PortMapping.html"
    ),
    "privileged": Rule(NEVER, "Fargate runs no privileged container.", DIFFERENCES),
    "shm_size": Rule(NEVER, "Fargate does not support sharedMemorySize.", DIFFERENCES),
    "stop_grace_period": Rule(
        range(2, 121), "Fargate takes 2 to 120.", API + "ContainerDefinition.html"
    ),
    "ulimits": Rule(
        OpenFiles(),
        "Fargate changes no limit but nofile, whose hard limit is 65535.",
        API + "Ulimit.html",
    ),
    "volumes": Rule(
        NEVER,
        "Fargate mounts no folder of its host and no Docker volume.",
        API + "HostVolumeProperties.html",
    ),
}
NO_SWAP = Rule(NEVER, "A Fargate task has no swap. Set the value of mem_limit.", DIFFERENCES)
# CPU units (1024 are one vCPU), and the MiB of memory that Fargate combines with them.
SIZES: dict[str, Container[int]] = {
    "256": (512, 1024, 2048),
    "512": range(1024, 4097, 1024),
    "1024": range(2048, 8193, 1024),
    "2048": range(4096, 16385, 1024),
    "4096": range(8192, 30721, 1024),
    "8192": range(16384, 61441, 4096),
    "16384": range(32768, 122881, 8192),
}
SIZE = Rule(NEVER, "Fargate has no task of this size; 0.5 CPUs take 1g to 4g.", DIFFERENCES)
LISTED = TRANSLATED.keys() | NOT_ON_FARGATE.keys() | LOCAL_ONLY.keys() | FARGATE.keys()


def entries(service: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each key and its value, or the parts of a key that the tables list in parts.

    The value of a part such as ports.target is a list with an element for each port.
    """
    for key, value in service.items():
        if value in (None, ""):
            continue  # Compose prints an unset command and entrypoint.
        if key in LISTED:
            yield key, value
        elif key == "ports":
            ports = [with_reach(port) for port in value]
            for part in sorted({part for port in ports for part in port}):
                yield f"ports.{part}", [port.get(part) for port in ports]
        elif key == "security_opt":
            yield from ((f"{key}.{re.split('[:=]', option)[0]}", option) for option in value)
        elif isinstance(value, dict):
            yield from ((f"{key}.{part}", one) for part, one in value.items())
        else:
            yield key, value


def with_reach(port: dict[str, Any]) -> dict[str, Any]:
    """Rename the published port if only this machine reaches it, or if it is another port."""
    name = "published"
    if ipaddress.ip_address(port.get("host_ip", "::")).is_loopback:
        name = "published on loopback"
    elif port.get("published") != str(port.get("target")):
        name = "published as another port"
    return {name if key == "published" else key: value for key, value in port.items()}


def put(target: dict[str, Any], path: str, value: Any) -> None:
    """Set a field by its path. Below a part that ends with [], the value is a list of values."""
    head, _, rest = path.partition(".")
    if not rest:
        target[head] = value
    elif head.endswith("[]"):
        items = target.setdefault(head.removesuffix("[]"), [{} for _ in value])
        for item, one in zip(items, value, strict=True):
            if one is not None:
                put(item, rest, one)
    else:
        put(target.setdefault(head, {}), rest, value)


def task_definition(project: str, name: str, service: dict[str, Any]) -> dict[str, Any]:
    """Return the request of RegisterTaskDefinition for a service."""
    container: dict[str, Any] = {"name": name, "essential": True}
    request = {
        "family": f"{project}-{name}",
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        # The role with which ECS pulls the image and reads the secrets.
        "executionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/ecsTaskExecutionRole",
        "containerDefinitions": [container],
    }
    for key, value in entries(service):
        if key in TRANSLATED:
            path, convert = TRANSLATED[key]
            put(request if path[0] == "/" else container, path.removeprefix("/"), convert(value))
    container["secrets"] = secrets(service.get("environment") or {})
    return request


def problems(service: dict[str, Any], request: dict[str, Any]) -> Iterator[str]:
    """Yield what Fargate refuses, and the keys and variables that are not declared."""

    def sentence(key: str, value: object, rule: Rule) -> str:
        return f"{key} is {value}. {rule.sentence} See {DOCS}/{rule.page}."

    for name in service.get("environment") or {}:
        if not is_secret(name) and not is_plain(name):
            yield (
                f"environment.{name} may be a secret, because the contract does not declare it. "
                "Declare it in src/environment/contract.py."
            )
    for key, value in entries(service):
        if key not in LISTED:
            yield f"{key} is in no table of scripts/{Path(__file__).name}. Add it to one."
        if key in FARGATE:
            converted = TRANSLATED[key][1](value) if key in TRANSLATED else value
            for one in converted if isinstance(converted, list) else [converted]:
                if one is not None and one not in FARGATE[key].allowed:
                    yield sentence(key, json.dumps(one), FARGATE[key])
    if service.get("memswap_limit") != service.get("mem_limit"):
        yield sentence("memswap_limit", service.get("memswap_limit", "not set"), NO_SWAP)
    cpu, memory = request.get("cpu", "0"), request.get("memory", "0")
    if int(memory) not in SIZES.get(cpu, NEVER):
        yield sentence("cpus", f"{int(cpu) / 1024:g} and mem_limit {memory} MiB", SIZE)


def register(requests: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Register the requests with moto's ECS, in this process, and return the errors by service."""
    # They take two seconds to import, and the images do not contain them.
    import boto3
    from botocore.exceptions import ClientError, ParamValidationError
    from moto import mock_aws

    errors = {}
    with mock_aws():
        client = boto3.client("ecs", region_name=REGION)
        for name, request in requests.items():
            try:
                # The client first validates the request against botocore's model of the API.
                client.register_task_definition(**request)
            except (ClientError, ParamValidationError) as error:
                errors[name] = " ".join(str(error).split())
    return errors


def main() -> int:
    config = json.load(sys.stdin)
    web_image = config["services"]["web"]["image"]
    services = {k: v for k, v in config["services"].items() if v.get("image") == web_image}
    requests = {name: task_definition(config["name"], name, services[name]) for name in services}
    errors = register(requests)
    print("\nTask definitions of the ecs target for Fargate")
    refused = 0
    for name, request in requests.items():
        found = list(problems(services[name], request))
        if name in errors:
            found.append(errors[name])
        print(
            f"{name:<12} {'refused' if found else 'registered'}: cpu {request.get('cpu')}, memory "
            f"{request.get('memory')}, {len(request['containerDefinitions'][0]['secrets'])} secrets"
        )
        print("".join(f"  REFUSED  {one}\n" for one in found), end="")
        refused += len(found)
    keys = sorted({key for one in services.values() for key, _ in entries(one)})
    paragraphs = ["translated: " + ", ".join(key for key in keys if key in TRANSLATED)]
    for title, reasons in (("not on Fargate", NOT_ON_FARGATE), ("local only", LOCAL_ONLY)):
        paragraphs += [f"{title}: {key} ({reasons[key]})" for key in keys if key in reasons]
    for text in paragraphs:
        print(textwrap.fill(text, 98, initial_indent="  ", subsequent_indent="    "))
    (ROOT / REQUESTS).write_text(json.dumps(requests, indent=2) + "\n")
    print(f"\nThe requests of RegisterTaskDefinition are in {REQUESTS}.")
    if refused:
        print(f"Refused: {refused}. Change compose.ecs-local.yml.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

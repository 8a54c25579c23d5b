"""Drives the real stack from outside: `docker compose`, HTTP requests, and kept container logs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.client
import http.cookiejar
import json
import os
import secrets
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
# Compose files by target. The last one replaces the secrets with recognisable values.
LAYERS = {
    "dev": ["compose.base.yml", "compose.dev.yml", "scripts/stack/compose.stack.yml"],
    "ecs": ["compose.base.yml", "compose.ecs-local.yml", "scripts/stack/compose.stack.yml"],
}
# Last, because it replaces Redis's command and URL.
LAYERS["ecs-tls"] = [*LAYERS["ecs"], "compose.tls.yml"]
# `make test-stack TLS=1` runs the tests with TLS to PostgreSQL and Redis.
ECS = "ecs-tls" if os.environ.get("TLS") else "ecs"
# An Application Load Balancer's default idle timeout, in seconds.
IDLE_TIMEOUT = 60
# Not the developer's own project. The name is fixed so that the next run removes what a killed run
# left behind.
PROJECT = os.environ.get("COMPOSE_PROJECT_NAME", "methodhub") + "-stack"
SECRETS = (
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
    "DJANGO_SUPERUSER_PASSWORD",
    "DATABASE_URL",
    "DATABASE_OWNER_URL",
    "REDIS_URL",
    "POSTGRES_PASSWORD",
)


# Prints the hash of a password. Django's setup would take ten times as long.
HASH = """
import sys
from accounts.hashers import Argon2
print(Argon2().encode(sys.argv[1], Argon2().salt()))
"""
INSERT_USERS = """
INSERT INTO accounts_user (email, name, password, is_superuser, is_staff, is_active, date_joined)
SELECT email, '', '{password}', false, false, true, now() FROM unnest('{{{emails}}}'::text[]) email
"""


def run(
    *command: str, env: Mapping[str, str] | None = None, check: bool = True, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository's root and capture its output as text.

    Raises AssertionError with the output when ``check`` is true and the command fails.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    if check:
        assert done.returncode == 0, (
            f"{' '.join(command)} exited {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done


def wait_for[T](question: Callable[[], T], seconds: float, every: float = 0.1) -> tuple[T, float]:
    """Call ``question`` until it returns a true value; return that value and the seconds it took.

    Raises AssertionError with the last value after ``seconds``.
    """
    start = time.monotonic()
    while True:
        answer = question()
        passed = time.monotonic() - start
        if answer:
            return answer, passed
        assert passed < seconds, f"not within {seconds} s; last answer: {answer!r}"
        time.sleep(every)


def filters(project: str, service: str) -> tuple[str, ...]:
    """Return the options of `docker ps` for a service's containers, without one-off ones."""
    labels = (f"project={project}", f"service={service}", "oneoff=False")
    return tuple(f"--filter=label=com.docker.compose.{label}" for label in labels)


@dataclasses.dataclass(frozen=True)
class Answer:
    """An HTTP response: status (0 for none), lower-case headers, body, duration in seconds."""

    status: int
    headers: dict[str, str]
    body: str
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_options: Any) -> None:
        return None


class Browser:
    """An HTTP client that keeps cookies and does not follow redirects."""

    def __init__(self, base: str, headers: Mapping[str, str] | None = None) -> None:
        """Send requests to ``base``, for example http://127.0.0.1:8000, with ``headers`` added."""
        self.base = base
        self.headers = dict(headers or {})
        # Cookies belong to the host, not to the port, so every replica receives them.
        self.cookies: dict[str, str] = {}
        self._opener = urllib.request.build_opener(_NoRedirect)

    def get(self, path: str, timeout: float = 10, **headers: str) -> Answer:
        """Send a GET request; header names use underscores."""
        return self._ask("GET", path, None, timeout, headers)

    def post(
        self, path: str, form: Mapping[str, str], timeout: float = 10, **headers: str
    ) -> Answer:
        """Post a form with the CSRF token from the cookie."""
        token = {"csrfmiddlewaretoken": self.cookies.get("csrftoken", "")}
        body = urllib.parse.urlencode({**token, **form}).encode()
        return self._ask("POST", path, body, timeout, headers)

    def send(self, method: str, path: str, body: bytes, timeout: float = 10) -> Answer:
        """Send a raw body."""
        return self._ask(method, path, body, timeout, {})

    def login(self, email: str, password: str) -> Answer:
        """Sign in to the admin and return the response to the form."""
        self.get("/admin/login/")
        return self.post("/admin/login/?next=/admin/", {"username": email, "password": password})

    def _ask(
        self, method: str, path: str, body: bytes | None, timeout: float, headers: Mapping[str, str]
    ) -> Answer:
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        request = urllib.request.Request(self.base + path, body, sent, method=method)
        start = time.monotonic()
        try:
            response = self._opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            response = error
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, {}, repr(error), time.monotonic() - start)
        with response:
            try:
                text = response.read().decode(errors="replace")
            except (OSError, http.client.HTTPException) as error:
                return Answer(0, {}, repr(error), time.monotonic() - start)
            for cookie in response.headers.get_all("Set-Cookie", []):
                name, _, value = cookie.partition(";")[0].partition("=")
                self.cookies[name] = value
            found = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, found, text, time.monotonic() - start)


class Container:
    """A running container."""

    def __init__(self, stack: Stack, name: str) -> None:
        """Find the container by its id or name; ``stack`` keeps its log when it is removed."""
        self.stack = stack
        self.id: str = self._inspect(name)["Id"]

    def _inspect(self, name: str) -> dict[str, Any]:
        return dict(json.loads(run("docker", "inspect", name).stdout)[0])

    def inspect(self) -> dict[str, Any]:
        """Return the output of `docker inspect`."""
        return self._inspect(self.id)

    @property
    def address(self) -> str:
        """The IP address in the network of the clients, or in the only network."""
        networks = self.inspect()["NetworkSettings"]["Networks"]
        network = networks.get(self.stack.edge) or next(iter(networks.values()))
        return str(network["IPAddress"])

    @functools.cached_property
    def url(self) -> str:
        """The URL of the port published on this machine. It changes when the container starts."""
        port = self.inspect()["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"]
        return f"http://127.0.0.1:{port}"

    def browser(self, **headers: str) -> Browser:
        """Return a new HTTP client of this container."""
        return Browser(self.url, {name.replace("_", "-"): value for name, value in headers.items()})

    def exec(self, *command: str, check: bool = True) -> str:
        """Run a command in the container and return its output."""
        return run("docker", "exec", self.id, *command, check=check).stdout

    def python(self, code: str, *arguments: str) -> str:
        """Run Python code in the container and return its output."""
        return self.exec("python", "-c", code, *arguments)

    def docker(self, verb: str, *arguments: str) -> str:
        """Run `docker VERB ARGUMENTS` on the container: kill, pause, unpause, start, stop …"""
        self.__dict__.pop("url", None)
        return run("docker", verb, *arguments, self.id).stdout

    def logs(self) -> str:
        """Return everything the container wrote to stdout and stderr."""
        done = run("docker", "logs", self.id)
        return done.stdout + done.stderr

    def records(self) -> list[dict[str, Any]]:
        """Parse each log line as JSON; raises ValueError when a line is not JSON."""
        return [json.loads(line) for line in self.logs().splitlines()]

    def wait_ready(self, seconds: float = 90) -> Container:
        """Wait until /readyz answers 200."""
        browser = self.browser()
        wait_for(lambda: browser.get("/readyz", timeout=5).status == 200, seconds)
        return self

    def wait_healthy(self, seconds: float = 90) -> Container:
        """Wait until the health check succeeds."""
        wait_for(lambda: self.inspect()["State"]["Health"]["Status"] == "healthy", seconds, 0.3)
        return self

    def restarts(self) -> int:
        """Return how often the engine restarted the container."""
        return int(self.inspect()["RestartCount"])

    def remove(self) -> None:
        """Save the log and remove the container."""
        self.stack.keep_log(self)
        run("docker", "rm", "--force", "--volumes", self.id)


class Stack:
    """A separate Compose project with its own images, network, volume and ports."""

    def __init__(self, logs: Path, project: str = PROJECT) -> None:
        """Build both targets. Logs of removed containers are saved in the directory ``logs``."""
        self._logs = logs
        self.project = project
        # The networks of web's clients, and of PostgreSQL and Redis.
        self.edge, self.data = f"{project}_edge", f"{project}_data"
        self.canaries = {name: f"canary{secrets.token_hex(30)}" for name in SECRETS}
        self.env = {
            "COMPOSE_PROJECT_NAME": project,
            **{f"CANARY_{name}": value for name, value in self.canaries.items()},
        }
        run("sh", "scripts/certificates", ".local/tls")
        self.remove()
        logs.mkdir(parents=True, exist_ok=True)
        for log in logs.glob("*.log"):
            log.unlink()
        for target in ("dev", "ecs"):
            self.compose("build", "--quiet", "web", target=target)

    def compose(self, *arguments: str, target: str = ECS, check: bool = True) -> str:
        """Run `docker compose` with the layers of ``target`` and return its output."""
        files = [part for layer in LAYERS[target] for part in ("--file", layer)]
        done = run("docker", "compose", *files, *arguments, env=self.env, check=check)
        return done.stdout

    def up(self) -> None:
        """Start PostgreSQL and Redis, migrate, create the superuser, and start web."""
        self.compose("up", "--detach", "--wait", "--quiet-pull")
        self._ensure_superuser()

    def watch_idle_connection(self) -> None:
        """Send two requests over one connection, a load balancer's idle timeout apart.

        It runs in a thread beside the tests and fills ``idle_statuses``.
        """
        address = urllib.parse.urlsplit(self.container("web").url)
        self.idle_statuses: list[int] = []

        def ask_twice() -> None:
            connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
            # The tests may end, and the stack be removed, before the second request.
            gone = contextlib.suppress(OSError, http.client.HTTPException)
            with contextlib.closing(connection), gone:
                for pause in (0, IDLE_TIMEOUT + 2):
                    time.sleep(pause)
                    connection.request("GET", "/livez")
                    answer = connection.getresponse()
                    answer.read()
                    self.idle_statuses.append(answer.status)

        self.idle = threading.Thread(target=ask_twice, daemon=True)
        self.idle.start()

    def container(self, service: str) -> Container:
        """Return the oldest container of a service."""
        return self.containers(service)[0]

    def containers(self, service: str) -> list[Container]:
        """Return all containers of a service, oldest first."""
        # The engine answers in a tenth of Compose's processor time, and lists the newest first.
        listed = run("docker", "ps", "--all", "--quiet", *filters(self.project, service)).stdout
        return [Container(self, name) for name in reversed(listed.split())]

    def sql(self, statement: str) -> str:
        """Run SQL as PostgreSQL's superuser and return its output."""
        psql = ("psql", "--username=postgres", "--tuples-only", "--no-align", "--command")
        return self.container("postgres").exec(*psql, statement, "methodhub").strip()

    def add_users(self, password: str, *emails: str) -> None:
        """Create users who can sign in."""
        hashed = self.container("web").python(HASH, password).strip()
        self.sql(INSERT_USERS.format(emails=",".join(emails), password=hashed))

    def end_lockouts(self) -> None:
        """Forget all failed sign-ins: all tests share one address."""
        self.sql("DELETE FROM accounts_attemptcounter")

    def start(
        self,
        *command: str,
        target: str = ECS,
        service: str = "web",
        env: Mapping[str, str] | None = None,
        options: tuple[str, ...] = (),
    ) -> Container:
        """Start an additional container of a service, with the same limits, without waiting for it.

        ``command`` replaces the image's command, ``env`` overrides variables, and ``options`` are
        passed to `docker compose run`, for example ("--volume", "…").
        """
        variables = [part for item in (env or {}).items() for part in ("--env", "=".join(item))]
        given = ["--detach", "--no-deps", "--service-ports", *variables, *options]
        name = self.compose("run", *given, service, *command, target=target).split()[-1]
        return Container(self, name)

    def _ensure_superuser(self) -> None:
        """Create the superuser, from a dev container because the ecs target refuses to."""
        command = ("python", "manage.py", "ensure_superuser")
        self.compose("run", "--rm", "--no-deps", "web", *command, target="dev")

    def client(self, script: str, *arguments: str, timeout: float = 120) -> Any:
        """Run a script in the network of web's clients; return the JSON it prints.

        ``script`` is a path in the repository. It runs inside the network because a published
        port's proxy goes on accepting connections after the server is gone.
        """
        done = run(
            *("docker", "run", "--rm", "--interactive", "--network", self.edge),
            *(f"{self.project}-ecs", "python", "-", *arguments),
            input=(ROOT / script).read_text(),
            timeout=timeout,
        )
        return json.loads(done.stdout)

    def keep_log(self, container: Container) -> None:
        """Save the container's log in the directory of logs."""
        about = container.inspect()
        service = about["Config"]["Labels"]["com.docker.compose.service"]
        target = about["Config"]["Labels"].get("methodhub.target", "none")
        name = f"{service}-{target}-{container.id[:12]}.log"
        (self._logs / name).write_text(container.logs())

    def keep_logs(self) -> list[Path]:
        """Save the logs of all containers; return the files of these and of removed ones."""
        filter_ = f"label=com.docker.compose.project={self.project}"
        for name in run("docker", "ps", "--all", "--quiet", "--filter", filter_).stdout.split():
            self.keep_log(Container(self, name))
        return sorted(self._logs.glob("*.log"))

    def remove(self) -> None:
        """Remove all containers, networks and volumes of the project."""
        filter_ = f"label=com.docker.compose.project={self.project}"
        for name in run("docker", "ps", "--all", "--quiet", "--filter", filter_).stdout.split():
            run("docker", "rm", "--force", "--volumes", name)
        # Dev's files name all networks.
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "1", target="dev")

    def remove_images(self) -> None:
        """Remove the images of both targets."""
        run("docker", "rmi", "--force", f"{self.project}-dev", f"{self.project}-ecs")

"""Benchmarks of the ecs target under load, compared with other ways to serve the same image."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scripts.bench.clone import FOLDER, RUNS
from scripts.bench.cpu import seconds_of
from scripts.bench.results import Figure, at_least, at_most, ratios
from scripts.stack.engine import PROJECT, ROOT, Container, Stack, run

HERE = ROOT / "scripts/bench"
WORKERS = 2
CONNECTIONS = 16
SECONDS = 4
# Every compared server gets two cores instead of the ecs target's half a core.
CPUS = "2"

PAGE = "/"
# Counts the users and writes the session.
WRITING_PAGE = "/writing/"
PLAIN = "/plain/"
# Sessions that a writing page takes in turn, so that few requests write the same one at once.
SESSIONS = 64
# 325 kB; wrk does not ask for compression.
STATIC = "/static/admin/js/vendor/xregexp/xregexp.js"

# gunicorn as most projects start it, with an access-log line for each request like the ecs target.
GUNICORN = (
    *("gunicorn", "--bind", "0.0.0.0:8000", "--workers", str(WORKERS), "--access-logfile", "-"),
    *("--worker-tmp-dir", "/dev/shm", "--no-control-socket", "--keep-alive", "75"),  # noqa: S108
)
SYNC = (*GUNICORN, "config.wsgi:application")
# One thread for each connection of the pool.
GTHREAD = (*GUNICORN, "--threads", "8", "config.wsgi:application")
PLAIN_UVICORN = (
    *(*GUNICORN, "--worker-class", "uvicorn_worker.UvicornWorker"),
    "bench_plain:application",
)
# granian is written in Rust, and its WSGI mode is the fastest server that we know for a synchronous
# view. The image does not contain it: its files come from the client's image.
GRANIAN = (
    *("python", "-m", "granian", "--interface", "wsgi", "--port", "8000"),
    *("--host", "0.0.0.0"),  # noqa: S104
    *("--workers", str(WORKERS), "--blocking-threads", "8", "--access-log"),
    "config.wsgi:application",
)
EMAIL, PASSWORD = "bench@example.com", "measured-not-guessed"
# Prints the session keys of a staff member and of an ordinary user, who has several.
PREPARE = f"""
import django
django.setup()
from django.test import Client
from accounts.models import User
for email, sessions in (({EMAIL!r}, 1), ("user@example.com", {SESSIONS})):
    user, made = User.objects.get_or_create(email=email)
    if made:
        user.is_staff = user.is_superuser = email == {EMAIL!r}
        user.set_password({PASSWORD!r})
        user.save()
    for _ in range(sessions):
        client = Client()
        client.force_login(user)
        print(client.cookies["sessionid"].value)
"""
# Prints the proportional (PSS) and resident (RSS) memory of all gunicorn processes, in bytes.
MEMORY = """
from pathlib import Path
found = [0, 0]
for process in Path("/proc").glob("[0-9]*"):
    if b"/gunicorn\\0" not in process.joinpath("cmdline").read_bytes():
        continue
    for line in process.joinpath("smaps_rollup").read_text().splitlines():
        name, *rest = line.split()
        if name in ("Pss:", "Rss:"):
            found[name == "Rss:"] += int(rest[0]) * 1024
print(*found)
"""


@dataclasses.dataclass(frozen=True)
class Load:
    """A wrk run: requests, duration in seconds, latencies in milliseconds, and CPU seconds used."""

    requests: int
    seconds: float
    p50: float
    p99: float
    cpu: list[float]

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


class Servers:
    """PostgreSQL, Redis, containers of the ecs image, and a wrk container in the same network."""

    def __init__(self) -> None:
        """Build the images, start the backing services and migrate."""
        self.stack = Stack(FOLDER / "logs")
        self.stack.compose("up", "--detach", "--wait", "--quiet-pull", "postgres", "redis")
        self.stack.compose("run", "--rm", "migrate")
        # Creates the network of web's clients, which no service above is in.
        self.stack.compose("up", "--no-start", "--no-deps", "web")
        image = f"{PROJECT}-client"
        bundle = self.stack.env.get("CA_BUNDLE") or "docker/no-ca-bundle.pem"
        run(
            "docker",
            "build",
            "--quiet",
            "--tag",
            image,
            "--secret",
            f"id=ca_bundle,src={bundle}",
            "--build-context",
            "requirements=requirements",
            str(HERE / "client"),
        )
        # With this label the container is removed together with the project.
        self.client = run(
            *("docker", "run", "--detach", "--init", "--network", self.stack.edge),
            *("--label", f"com.docker.compose.project={PROJECT}", image),
        ).stdout.strip()
        self.granian = FOLDER / "granian"
        shutil.rmtree(self.granian, ignore_errors=True)
        run("docker", "cp", f"{self.client}:/granian", str(self.granian))
        self.staff = ""
        self.sessions: list[str] = []

    def serve(self, *command: str, cpus: str = CPUS, target: str = "ecs", **env: str) -> Container:
        """Start a container of the ecs image with the benchmark URLs and wait until it is ready."""
        variables = {
            "PYTHONPATH": "/app/src:/bench:/granian",
            "DJANGO_SETTINGS_MODULE": "bench_settings",
            "WORKERS": str(WORKERS),
        }
        container = self.stack.start(
            *command,
            target=target,
            env=variables | env,
            options=(
                *("--volume", f"{HERE}/apps:/bench:ro"),
                *("--volume", f"{self.granian}:/granian:ro"),
            ),
        )
        container.docker("update", "--cpus", cpus)
        container.wait_ready()
        if not self.sessions:
            self.staff, *self.sessions = container.python(PREPARE).split()
        return container

    @contextlib.contextmanager
    def serving(self, *starts: Callable[[], Container]) -> Iterator[list[Container]]:
        """Start containers and remove them, with their logs, at the end."""
        containers: list[Container] = []
        try:
            for begin in starts:
                containers.append(begin())
            yield containers
        finally:
            for container in containers:
                container.docker("rm", "--force", "--volumes")

    def load(
        self,
        container: Container,
        path: str,
        *,
        seconds: int = SECONDS,
        connections: int = CONNECTIONS,
        watched: tuple[Container, ...] = (),
    ) -> Load:
        """Load a server with wrk; raises AssertionError when a request fails.

        A writing page takes all sessions in turn, any other the first one.
        """
        self.expect_page(container, path)
        sessions = self.sessions if path == WRITING_PAGE else self.sessions[:1]
        before = [seconds_of(each.id) for each in watched]
        wrk = (
            *("wrk", "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{seconds}s", "--timeout", "10s", "--latency"),
            *("--script", "/report.lua", "--header", "Host: localhost"),
            f"http://{container.address}:8000{path}",
            *sessions,
        )
        said = run("docker", "exec", self.client, *wrk).stdout
        cpu = [seconds_of(each.id) - was for each, was in zip(watched, before, strict=True)]
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        assert not found["failed"], f"{found['failed']} of {found['requests']} failed at {path}"
        return Load(found["requests"], found["seconds"], found["p50"], found["p99"], cpu)

    def expect_page(self, container: Container, path: str) -> None:
        """Raise AssertionError unless the page answers 200: wrk accepts a redirect."""
        answer = container.browser(Cookie=f"sessionid={self.sessions[0]}").get(path)
        assert answer.status == 200, f"{path} answers {answer.status}"

    def remove(self) -> None:
        self.stack.remove()
        run("docker", "rmi", "--force", *(f"{PROJECT}-{n}" for n in ("dev", "ecs", "client")))


# Servers of the same image, which *requests* compares.
COMPARED: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "ecs": ((), {}),
    "plain uvicorn, no pool": (PLAIN_UVICORN, {"DJANGO_SETTINGS_MODULE": "bench_plain_settings"}),
    "plain uvicorn": (PLAIN_UVICORN, {}),
    "gthread": (GTHREAD, {}),
    "sync": (SYNC, {"DJANGO_SETTINGS_MODULE": "bench_sync_settings"}),
    "granian": (GRANIAN, {}),
}


def requests(servers: Servers) -> list[Figure]:
    """wrk with 16 connections against 2 workers on 2 cores. The page is the home page of a
    signed-in user: the session from Redis, the user from PostgreSQL, and a template. The writing
    page counts the users and writes its session, of which wrk has 64. The same image also runs
    gunicorn with plain uvicorn workers, without the pool and with it; gunicorn's gthread workers
    and granian's WSGI mode, with the pool; and gunicorn's sync workers with a persistent connection
    each, sessions in PostgreSQL alone and a transaction around each request, as projects without a
    pool use them. Every server writes an access-log line for each request. Processor time is that
    of the server's container. A worker of ecs spends it, by py-spy, on uvicorn and the layers
    around Django (writing page 26 %, trivial view 41 %), Django's handler and middleware (15 and 25
    %), the log line (9 and 17 %) and the change of threads (8 and 16 %); the writing page also on
    Django's ORM (18 %), redis-py (11 %), psycopg (9 %) and its session (4 %).
    """
    starts = [
        lambda command=command, env=env: servers.serve(*command, **env)
        for command, env in COMPARED.values()
    ]
    with servers.serving(*starts) as started:
        containers = dict(zip(COMPARED, started, strict=True))
        page = _loads(servers, containers, PAGE)
        del containers["plain uvicorn, no pool"], containers["plain uvicorn"]
        writing = _loads(servers, containers, WRITING_PAGE)
        view = _loads(servers, containers, PLAIN)
    rates = {name: _rates(loads) for name, loads in page.items()}
    slow = {name: [load.p99 for load in loads] for name, loads in writing.items()}
    return [
        *_figures("page", page, {"plain uvicorn": None, "gthread": 0.9}),
        Figure(
            "page: ecs / plain uvicorn, no pool",
            "×",
            ratios(rates["ecs"], rates["plain uvicorn, no pool"]),
            at_least(2.5),
        ),
        *_figures("writing page", writing, {"gthread": 0.9, "sync": 1.15, "granian": None}, 2.2),
        *(Figure(f"writing page: {name}, p99", "ms", times) for name, times in slow.items()),
        Figure("writing page: ecs / sync, p99", "×", ratios(slow["ecs"], slow["sync"]), at_most(1)),
        *_figures("trivial view", view, {"gthread": 0.9, "granian": 0.6}, 0.36),
    ]


def _loads(
    servers: Servers, containers: Mapping[str, Container], path: str
) -> dict[str, list[Load]]:
    """Return the loads of each server, which take turns."""
    for container in containers.values():
        servers.load(container, path, seconds=2)
    loads: dict[str, list[Load]] = {name: [] for name in containers}
    for _ in range(RUNS):
        for name, container in containers.items():
            loads[name].append(servers.load(container, path, watched=(container,)))
    return loads


def _rates(loads: list[Load]) -> list[float]:
    return [load.rate for load in loads]


def _figures(
    what: str,
    loads: Mapping[str, list[Load]],
    others: Mapping[str, float | None],
    cpu_limit: float | None = None,
) -> list[Figure]:
    """Return the rates and processor times of servers, and the ratios of ecs to ``others``.

    The values of ``others`` are the least ratios; ``cpu_limit`` is that of ecs, in milliseconds.
    """
    figures = [Figure(f"{what}: {name}", "req/s", _rates(each)) for name, each in loads.items()]
    for name, least in others.items():
        ratio = ratios(_rates(loads["ecs"]), _rates(loads[name]))
        target = at_least(least) if least else None
        figures.append(Figure(f"{what}: ecs / {name}", "×", ratio, target))
    for name, each in loads.items():
        cpu = [load.cpu[0] / load.requests * 1000 for load in each]
        target = at_most(cpu_limit) if cpu_limit and name == "ecs" else None
        figures.append(Figure(f"{what}: {name}", "ms CPU", cpu, target))
    return figures


def static(servers: Servers) -> list[Figure]:
    """An uncompressed file of 325 kB through WhiteNoise; wrk and servers as in *requests*."""
    with servers.serving(lambda: servers.serve(), lambda: servers.serve(*GTHREAD)) as containers:
        named = dict(zip(("ecs", "gthread"), containers, strict=True))
        return _figures("file", _loads(servers, named, STATIC), {"gthread": 0.9})


def memory(servers: Servers) -> list[Figure]:
    """The gunicorn master and 2 workers under a mix of pages, a trivial view, the sign-in form and
    static files, sampled about every 10,000 requests. PSS counts shared memory once. Growth covers
    the 100,000 requests after the first 50,000, during which threads and caches fill.
    """
    total, samples, settled = 0, [], []
    with servers.serving(lambda: servers.serve()) as [web]:
        while total < 150_000:
            for path in (PAGE, PLAIN, PLAIN, "/admin/login/", STATIC):
                total += servers.load(web, path, seconds=1).requests
            samples.append([int(value) / 1e6 for value in web.python(MEMORY).split()])
            if total > 50_000:
                settled.append(samples[-1][0])
    shared, resident = (list(column) for column in zip(*samples, strict=True))
    # Compare halves: a single sample may fall before or after a garbage collection.
    half = len(settled) // 2
    growth = ratios(settled[-half:], settled[:half])
    return [
        Figure("all processes, PSS", "MB", shared, at_most(200, by="worst")),
        Figure("all processes, RSS", "MB", resident),
        Figure("second half / first half", "×", growth, at_most(1.03)),
    ]


def replicas(servers: Servers) -> list[Figure]:
    """Requests per second of processor time with 1, 2 and 4 tasks on this machine. Each task has
    half a core and 2 workers, and serves the home page to 8 connections at once.
    """
    rounds = []
    begin = [lambda: servers.serve(cpus="0.5")] * 4
    with servers.serving(*begin) as containers:
        for container in containers:
            servers.load(container, PAGE, seconds=2)
        for _ in range(RUNS):
            rounds.append([_per_cpu_second(servers, containers[:n]) for n in (1, 2, 4)])
    one, two, four = (list(column) for column in zip(*rounds, strict=True))
    figures = [
        Figure(f"{count} replica{'s' if count > 1 else ''}", "requests per CPU s", values)
        for count, values in ((1, one), (2, two), (4, four))
    ]
    for count, values in ((2, two), (4, four)):
        figures.append(Figure(f"{count} / 1", "×", ratios(values, one), at_least(0.85)))
    return figures


def _per_cpu_second(servers: Servers, containers: list[Container]) -> float:
    with ThreadPoolExecutor(len(containers)) as threads:
        loads = list(
            threads.map(
                lambda each: servers.load(each, PAGE, connections=8, watched=(each,)), containers
            )
        )
    return sum(load.requests for load in loads) / sum(load.cpu[0] for load in loads)


GROWING = {
    PAGE: "home",
    "/admin/accounts/user/": "admin list of users",
    WRITING_PAGE: "writing page",
}


def growth(servers: Servers) -> list[Figure]:
    """One client sends one request after another, in turns, to servers whose databases have 3,
    100,000 and 1,000,000 users. Signing in hashes a password, which is slow by design. The writing
    page counts the users, and PostgreSQL reads them all to do so.
    """
    postgres = servers.stack.container("postgres")
    # The first server creates the users and sessions that every database copies.
    with servers.serving(lambda: servers.serve()):
        pass
    sizes = (0, 100_000, 1_000_000)
    for size in sizes:
        name = f"users_{size}"
        _sql(postgres, "postgres", f"DROP DATABASE IF EXISTS {name}")
        _sql(
            postgres, "postgres", f"CREATE DATABASE {name} TEMPLATE methodhub OWNER methodhub_owner"
        )
        _sql(
            postgres,
            name,
            "INSERT INTO accounts_user (email, name, password, is_active, is_staff, is_superuser,"
            " date_joined) SELECT 'user' || n || '@example.org', 'User ' || n, '!', true, false,"
            f" false, now() - n * interval '1 minute' FROM generate_series(1, {size}) AS n",
        )
        _sql(postgres, name, "VACUUM ANALYZE")
    url = f"postgres://methodhub:{servers.stack.canaries['DATABASE_URL']}@postgres:5432/"
    starts = [lambda size=size: servers.serve(DATABASE_URL=f"{url}users_{size}") for size in sizes]
    times: dict[str, list[list[float]]] = {}
    with servers.serving(*starts) as containers:
        for path, what in GROWING.items():
            rounds = [[_get(servers, each, path) for each in containers] for _ in range(24)]
            times[what] = rounds[4:]
        times["sign-in"] = [[_sign_in(each) for each in containers] for _ in range(9)][1:]
    figures = []
    for what, rounds in times.items():
        columns = [list(column) for column in zip(*rounds, strict=True)]
        for size, column in zip(sizes, columns, strict=True):
            figures.append(Figure(f"{what}, {size:,} users", "ms", column))
        for size, column in zip(sizes[1:], columns[1:], strict=True):
            ratio = ratios(column, columns[0])
            target = None if what == GROWING[WRITING_PAGE] else at_most(2)
            figures.append(Figure(f"{what}, {size:,} / 0", "×", ratio, target))
    return figures


def _sql(postgres: Container, database: str, statement: str) -> None:
    postgres.exec(
        "psql", "-qU", "postgres", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement
    )


def _get(servers: Servers, web: Container, path: str) -> float:
    answer = web.browser(Cookie=f"sessionid={servers.staff}").get(path)
    assert answer.status == 200, f"{path} answers {answer.status}"
    return answer.seconds * 1000


def _sign_in(web: Container) -> float:
    answer = web.browser().login(EMAIL, PASSWORD)
    assert answer.status == 302, f"sign-in answers {answer.status}"
    return answer.seconds * 1000

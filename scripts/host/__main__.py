"""The Makefile's verbs without Docker.

scripts/host.mk runs ``python -m scripts.host VERB [ARGS…]`` in the root of the clone.
"""

from __future__ import annotations

import contextlib
import os
import pprint
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TextIO

from scripts.host import cluster, services
from scripts.host.environment import (
    PORT_VARIABLES,
    ROOT,
    SRC,
    app_environ,
    migrate_environ,
    wanted_port,
)
from scripts.host.errors import UserError
from scripts.host.ports import HOST, accepts_connections, free_port
from scripts.host.stack import Stack, say

LOCAL = ROOT / ".local"
STACK = Stack(LOCAL)
TEST_STACK = Stack(LOCAL / "test", durable=False)
MANAGE = (sys.executable, "manage.py")
# Variables that start several containers, and what to set instead without any.
ONE_ON_HOST = {
    "REPLICAS": "WORKERS for several processes",
    "WORKER_REPLICAS": "TASK_CONCURRENCY for more tasks at once",
}
NOT_LIKE_ECS = """\
  This is no container: the file system is writable, nothing limits CPU, memory or processes, no
  capability is dropped, and web runs as your user. `make test-stack` checks these with Docker."""


def call(
    command: Sequence[str], environ: dict[str, str], cwd: Path = SRC, stdout: TextIO | None = None
) -> int:
    """Run a program in the foreground and return its exit status."""
    with subprocess.Popen(command, env=environ, cwd=cwd, stdout=stdout) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # The terminal sends Ctrl-C to the program too. The program decides when to exit.
                continue
            except SystemExit:
                process.terminate()
                raise


def migrate(environ: dict[str, str], stdout: TextIO | None = None) -> None:
    """Apply migrations and, in the dev target, create the superuser that `make up` prints.

    Exits with migrate's status if it fails.
    """
    superuser = ["--ensure-superuser"] if environ["TARGET"] == "dev" else []
    environ = environ | migrate_environ(STACK.ports())
    if status := call([*MANAGE, "migrate", *superuser], environ, stdout=stdout):
        raise SystemExit(status)


def current_environ(target: str | None = None) -> dict[str, str]:
    """Return the environment of the running target, or of the given one."""
    web = STACK.web.running()
    port = (web.port if web else None) or wanted_port("web")
    return app_environ(target or (web.label if web else "dev"), port, STACK.ports())


def start_for_one_off(target: str | None = None, *, migrated: bool = True) -> dict[str, str]:
    """Start the backing services for a one-off command, and return its environment.

    With ``migrated``, a database that was never migrated is migrated first.
    """
    with STACK.locked():
        ports = STACK.ports()
        STACK.check_ports(ports)
        STACK.start_backing_services(ports)
    environ = current_environ(target)
    if migrated and is_new(environ["DATABASE_URL"]):
        say("The database is new. Applying migrations first.")
        migrate(environ, stdout=sys.stderr)
    return environ


def is_new(database_url: str) -> bool:
    """Tell whether migrate never ran on the database."""
    query = "SELECT to_regclass('django_migrations') IS NULL"
    psql = [str(services.postgres_program("psql")), "--no-psqlrc", "-tAc", query, database_url]
    return subprocess.run(psql, capture_output=True, check=False).stdout.strip() == b"t"


def up(target: str) -> None:
    """Start the backing services, migrate, start web and the worker, and print the address."""
    for variable, instead in ONE_ON_HOST.items() if target == "ecs" else ():
        replicas = os.environ.get(variable) or "1"
        if replicas != "1":
            raise UserError(
                f"{variable} must be 1 without Docker (got {replicas!r}). Start Docker for several "
                f"containers, or set {instead}."
            )
    if target == "ecs" and os.environ.get("TLS"):
        raise UserError(
            "TLS=1 needs Docker. Without it, PostgreSQL and Valkey listen on loopback only. Start "
            "Docker, or leave out TLS=1."
        )
    with STACK.locked():
        ports = {name: wanted_port(name) for name in PORT_VARIABLES}
        STACK.check_ports(ports)
        STACK.start_backing_services(ports)
        program = services.web(target, ports["web"], ports)
        environ = dict(program.environ)
        if target == "ecs":
            STACK.web.stop()
            collectstatic = ["collectstatic", "--noinput", "--clear", "--verbosity=0"]
            if status := call([*MANAGE, *collectstatic], environ):
                raise SystemExit(status)
        migrate(environ)
        worker = services.worker(target, ports["web"], ports)
        with ThreadPoolExecutor() as both:
            # Consuming the results raises the error of a service that did not start.
            list(both.map(STACK.ensure, (STACK.web, STACK.worker), (program, worker)))
    subprocess.run(["sh", "scripts/welcome", target], cwd=ROOT, check=True)
    if target == "ecs":
        print(NOT_LIKE_ECS)


def down() -> None:
    """Stop the stack, and the servers of a test run that was killed. The data stays."""
    with STACK.locked():
        STACK.stop()
    # Running tests hold the lock.
    with contextlib.suppress(BlockingIOError), TEST_STACK.locked(wait=False):
        TEST_STACK.stop()


def reset() -> None:
    """Stop the stack and delete its data."""
    down()
    with STACK.locked():
        shutil.rmtree(STACK.data, ignore_errors=True)
    say("  The data is deleted.")


def ps() -> None:
    """Print the state, pid and address of each service."""
    print(f"{'SERVICE':<10}{'STATE':<14}{'PID':<9}{'ADDRESS':<18}WHAT")
    for service in STACK.services:
        record, process = service.record(), service.process()
        row = ""
        if record is None:
            state = "stopped"
        elif process is None:
            state = "half killed" if service.orphans() else "killed"
        else:
            answers = record.port is None or accepts_connections(record.port)
            state = "running" if answers else "no answer"
            address = f"{HOST}:{record.port}" if record.port else ""
            row = f"{process.pid:<9}{address:<18}{record.label}"
        print(f"{service.name:<10}{state:<14}{row}".rstrip())


def logs(*names: str) -> None:
    """Follow the logs of the named services, or of all."""
    known = [service.name for service in STACK.services]
    if unknown := sorted(set(names) - set(known)):
        raise UserError(f"Unknown service {', '.join(unknown)}. Choose from {', '.join(known)}.")
    files = [
        str(service.log.relative_to(ROOT))
        for service in STACK.services
        if service.log.exists() and (not names or service.name in names)
    ]
    if not files:
        raise UserError("There are no logs yet. `make up` starts the stack.")
    os.execvp("tail", ["tail", "-n", "200", "-F", *files])


def manage(*args: str, target: str | None = None) -> int:
    """Run a manage.py command."""
    return call([*MANAGE, *args], start_for_one_off(target))


def makemigrations(*args: str) -> int:
    """Write migrations. Only the dev target can."""
    environ = start_for_one_off("dev", migrated=False)
    return call([*MANAGE, "makemigrations", *args], environ)


def env(*args: str) -> int:
    """Print the environment contract. Start nothing, since the environment may be invalid."""
    return call([*MANAGE, "env", *args], current_environ())


def database(verb: str, *args: str) -> int:
    """Run scripts/database."""
    uses_present_data = verb in ("snapshot", "dump")
    environ = start_for_one_off(migrated=uses_present_data) | migrate_environ(STACK.ports())
    programs = services.postgres_program("psql").parent
    environ["PATH"] = f"{programs}{os.pathsep}{environ['PATH']}"
    environ["FORCE"] = os.environ.get("FORCE", "")
    status = call(["sh", "scripts/database", verb, *args], environ, ROOT)
    if status == 0 and verb in ("restore", "load"):
        # Cache and sessions belong to the previous data.
        import redis

        redis.Redis.from_url(environ["REDIS_URL"]).flushall()
        # A snapshot of an earlier release has one role.
        cluster.ensure_owner(STACK.data, STACK.ports()["postgres"])
    return status


def db_upgrade() -> None:
    """Explain how to move data of another major version: the wheel contains one version only."""
    if not (STACK.data / "PG_VERSION").exists():
        raise UserError("There is no database yet. `make up` creates one.")
    cluster.check_version(STACK.data)
    say("The database already has this PostgreSQL's major version. There is nothing to do.")


def debug() -> int:
    """Run web in the foreground for a debugger. Reloading is off: it would end the session."""
    start_for_one_off("dev")
    port, debug_port = wanted_port("web"), os.environ["DEBUG_PORT"]
    with STACK.locked():
        STACK.web.stop()
    STACK.check_ports({"web": port})
    say(
        f"Attach to localhost:{debug_port}. The site is on http://localhost:{port}/. "
        "Ctrl-C ends it; `make up` starts the usual web again."
    )
    debugpy = [sys.executable, "-X", "frozen_modules=off", "-m", "debugpy"]
    runserver = ["manage.py", "runserver", "--noreload", f"{HOST}:{port}"]
    command = [*debugpy, "--listen", f"{HOST}:{debug_port}", *runserver]
    return call(command, current_environ("dev"))


def dbshell() -> int:
    """Open psql on the app's database, as its owner."""
    environ = start_for_one_off()
    # Lift the role's time limits, which are meant for requests.
    environ["PGOPTIONS"] = "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0"
    url = migrate_environ(STACK.ports())["DATABASE_OWNER_URL"]
    return call([str(services.postgres_program("psql")), url], environ, ROOT)


def redis_cli() -> None:
    """Send commands to Valkey and print the replies. The wheel contains no redis-cli."""
    import redis

    with contextlib.suppress(ImportError):
        # Gives input() a history.
        import readline  # noqa: F401

    environ = start_for_one_off(migrated=False)
    client = redis.Redis.from_url(environ["REDIS_URL"], decode_responses=True)
    prompt = f"{HOST}> " if sys.stdin.isatty() else ""
    while True:
        try:
            words = shlex.split(input(prompt))
            if words and words[0].lower() in ("exit", "quit"):
                return
            if words:
                pprint.pprint(client.execute_command(*words))  # type: ignore[no-untyped-call]
        except EOFError:
            return
        except (ValueError, redis.RedisError) as error:
            print(f"(error) {error}")


def test(*args: str) -> int:
    """Run the tests on servers of their own, and stop the servers afterwards."""
    # A closed terminal or a CI timeout must stop the servers too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with TEST_STACK.locked():
        try:
            TEST_STACK.stop()
            delete_unusable_test_data()
            ports = {"postgres": free_port(), "redis": free_port()}
            TEST_STACK.start_backing_services(ports)
            environ = app_environ("dev", free_port(), ports)
            environ |= {name: os.environ.get(name, "") for name in ("COVERAGE", "PROCESSES")}
            environ["POSTGRES_PASSWORD"] = cluster.password_file(TEST_STACK.data).read_text()
            return call(["sh", "scripts/test", *args], environ, ROOT)
        finally:
            TEST_STACK.stop()


def delete_unusable_test_data() -> None:
    """Delete the tests' data directory if it is outdated or its server was killed.

    Creating one takes longer than many tests, so it is kept between runs. It is not durable, so a
    crash may corrupt it.
    """
    made_from = TEST_STACK.home / "made-from"
    is_current = made_from.exists() and made_from.read_text() == cluster.digest()
    if not is_current or (TEST_STACK.data / "postmaster.pid").exists():
        shutil.rmtree(TEST_STACK.data, ignore_errors=True)
        made_from.write_text(cluster.digest())


def tool(*command: str) -> int:
    """Run a program of the virtual environment with the app's settings, which mypy needs."""
    ports = {name: wanted_port(name) for name in PORT_VARIABLES}
    # Keep uv's files inside the clone.
    uv = {
        "UV_CACHE_DIR": str(LOCAL / "cache/uv"),
        "UV_PYTHON_INSTALL_DIR": str(LOCAL / "cache/python"),
    }
    return call(command, {**os.environ, **app_environ("dev", 8000, ports), **uv}, ROOT)


VERBS: dict[str, Callable[..., int | None]] = {
    "up": partial(up, "dev"),
    "up-prodlike": partial(up, "ecs"),
    "down": down,
    "reset": reset,
    "ps": ps,
    "logs": logs,
    "migrate": lambda: migrate(start_for_one_off(migrated=False)),
    "makemigrations": makemigrations,
    "manage": manage,
    "shell": partial(manage, "shell"),
    "dbshell": dbshell,
    "redis-cli": redis_cli,
    "superuser": partial(manage, "createsuperuser"),
    "fixtures": partial(manage, "loaddata", "demonstration"),
    "seed": partial(manage, "seed", target="dev"),
    "debug": debug,
    "db-snapshot": partial(database, "snapshot"),
    "db-restore": partial(database, "restore"),
    "db-snapshots": partial(database, "snapshots"),
    "db-drop-snapshot": partial(database, "drop"),
    "db-dump": partial(database, "dump"),
    "db-load": partial(database, "load"),
    "db-upgrade": db_upgrade,
    "env": env,
    "test": test,
    "tool": tool,
}


def main(verb: str, *args: str) -> int:
    """Run a verb and return its exit status."""
    try:
        return VERBS[verb](*args) or 0
    except UserError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))

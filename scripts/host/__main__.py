"""The Makefile's verbs without Docker: PostgreSQL and Valkey from wheels, web as a process.

Run by scripts/host.mk as ``python -m scripts.host VERB [ARGS…]``, from the root of the clone.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import pprint
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from scripts.host import environment, services
from scripts.host.environment import HOST, PORT_VARIABLES, ROOT, SRC, wanted_port
from scripts.host.processes import Service, Task, answers, owner
from scripts.host.trouble import Trouble

LOCAL = ROOT / ".local"
NAMES = ("postgres", "redis", "web")
# stop_grace_period of the overlays, seconds.
GRACE = {"dev": 3, "ecs": 30}
MISSING_PROPERTIES = """\
  No container: the file system is writable, and there are no limits of CPU, memory or processes,
  no dropped capabilities, and the user is yours. `make test-stack` shows those, with an engine."""


class Stack:
    """The processes of one clone, or of its tests, and their data below ``home``."""

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        """Name the services; nothing is started."""
        self.home = home
        self.durable = durable
        self.data = home / "postgres"
        self.postgres, self.redis, self.web = (Service(home, name) for name in NAMES)
        self.all = (self.postgres, self.redis, self.web)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let one verb at a time change what runs; the others wait."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("Another make is at work here; waiting for it.")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def busy(self) -> bool:
        """Tell whether a verb changes what runs, or tests do their work on it."""
        with contextlib.suppress(FileNotFoundError), (self.home / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def ports(self) -> dict[str, int]:
        """Return the ports of the backing services: of the running ones, or else those wanted."""
        return {
            service.name: running.port
            if (running := service.running())
            else wanted_port(service.name)
            for service in (self.postgres, self.redis)
        }

    def start_services(self, ports: dict[str, int]) -> None:
        """Start PostgreSQL and Valkey on these ports, or leave them alone where they are right."""
        if not (self.data / "PG_VERSION").exists():
            say(f"  postgres  making {self.data.relative_to(ROOT)}")
            services.make_cluster(self.postgres, self.data, durable=self.durable)
        services.check_version(self.data)
        task = services.postgres_task(self.data, ports["postgres"], durable=self.durable)
        if is_wanted(self.postgres, task):
            services.clear_stale_pid(self.data)
            start(self.postgres, task)
        task = services.valkey_task(self.home / "redis", ports["redis"])
        if is_wanted(self.redis, task):
            start(self.redis, task)

    def stop(self) -> None:
        """Stop everything, what needs the others first."""
        for service in reversed(self.all):
            if service.record():
                service.stop()
                say(f"  {service.name:<9} stopped")


DEVELOPMENT = Stack(LOCAL)
TESTS = Stack(LOCAL / "test", durable=False)


def say(line: str) -> None:
    """Print progress."""
    print(line, flush=True)


def is_wanted(service: Service, task: Task) -> bool:
    """Tell whether ``task`` has to be started; what ran differently until now is stopped."""
    running = service.running()
    if running and running.digest == task.digest():
        return False
    service.stop()
    return True


def start(service: Service, task: Task) -> None:
    """Start a service and say so."""
    service.start(task)
    say(f"  {service.name:<9} {task.label} on {HOST}:{task.port}")


def web_task(target: str, port: int, ports: dict[str, int]) -> Task:
    """Return how web runs in the ``target``."""
    python = sys.executable
    if target == "dev":
        command = [python, "manage.py", "runserver", f"{HOST}:{port}"]
    else:
        command = [python, "-m", "gunicorn", "--config", str(ROOT / "docker/gunicorn.conf.py")]
        # A container's port is its own; here other machines must not come in.
        command += ["--bind", f"{HOST}:{port}"]
        if not Path("/dev/shm").is_dir():  # noqa: S108 - macOS has none
            command += ["--worker-tmp-dir", str(LOCAL / "run")]
        command += ["config.asgi:application"]
    return Task(
        command=command,
        environ=environment.app(target, port, ports),
        folder=SRC,
        port=port,
        label=target,
        ready=lambda: web_ready(port),
        grace=GRACE[target],
    )


def web_ready(port: int) -> bool:
    """Ask for liveness, as the container's health check does."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def check_ports(stack: Stack, ports: dict[str, int]) -> None:
    """Raise Trouble when a port is taken by anything but this stack; all of them at once."""
    taken = []
    for service in (service for service in stack.all if service.name in ports):
        port = ports[service.name]
        running = service.running()
        if (running and running.port == port) or service.leftovers() or not answers(port):
            continue
        taken.append(
            f"Port {port} is taken by {owner(port)}: stop it, or choose another port with "
            f"{PORT_VARIABLES[service.name]}={port + 100}."
        )
    if taken:
        raise Trouble("\n".join(taken))


def call(command: list[str], environ: dict[str, str], folder: Path = SRC) -> int:
    """Run a program in the foreground and return its exit status."""
    with subprocess.Popen(command, env=environ, cwd=folder) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # The terminal sent it to the program too, which decides what it means.
                continue
            except SystemExit:
                process.terminate()
                raise


def checked(command: list[str], environ: dict[str, str]) -> None:
    """Run a program that must succeed; leave with its status when it does not."""
    if status := call(command, environ):
        raise SystemExit(status)


def manage_py(*words: str) -> list[str]:
    """Return the command line of manage.py."""
    return [sys.executable, "manage.py", *words]


def up(target: str) -> None:
    """Start the backing services, migrate, start web and say how to reach it."""
    stack = DEVELOPMENT
    with stack.locked():
        ports = {name: wanted_port(name) for name in NAMES}
        check_ports(stack, ports)
        stack.start_services(ports)
        task = web_task(target, ports["web"], ports)
        environ = dict(task.environ)
        if target == "ecs":
            stack.web.stop()
            checked(manage_py("collectstatic", "--noinput", "--clear", "--verbosity=0"), environ)
        superuser = ["--ensure-superuser"] if target == "dev" else []
        checked(manage_py("migrate", *superuser), environ)
        if is_wanted(stack.web, task):
            start(stack.web, task)
    subprocess.run(["sh", "scripts/welcome", target], cwd=ROOT, check=True)


def up_dev() -> None:
    """make up."""
    up("dev")


def up_prodlike() -> None:
    """make up-prodlike."""
    replicas = os.environ.get("REPLICAS") or "1"
    if replicas != "1":
        raise Trouble(
            f"REPLICAS={replicas} needs containers, and so a Docker engine: without one, one web "
            "process with WORKERS workers runs."
        )
    up("ecs")
    say(MISSING_PROPERTIES)


def down() -> None:
    """Stop everything that was started, by tests that were killed too; data stays."""
    with DEVELOPMENT.locked():
        DEVELOPMENT.stop()
    if not TESTS.busy():
        with TESTS.locked():
            TESTS.stop()


def reset() -> None:
    """Stop everything and delete the data."""
    down()
    with DEVELOPMENT.locked():
        shutil.rmtree(DEVELOPMENT.data, ignore_errors=True)
    say("  The data is deleted.")


def ps() -> None:
    """Print a line for each service: whether it runs, where, since which process."""
    print(f"{'SERVICE':<10}{'STATE':<14}{'PID':<9}{'ADDRESS':<18}WHAT")
    for service in DEVELOPMENT.all:
        record = service.record()
        state = "stopped"
        if record:
            state = "killed"
            if service.process():
                state = "running" if answers(record.port) else "no answer"
            elif service.leftovers():
                state = "half killed"
        pid, address, what = ("", "", "")
        if record and service.process():
            pid, address, what = str(record.pid), f"{HOST}:{record.port}", record.label
        print(f"{service.name:<10}{state:<14}{pid:<9}{address:<18}{what}".rstrip())


def logs(*names: str) -> None:
    """Follow the logs of all services, or of those named."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise Trouble(f"No such service: {', '.join(unknown)}. There are {', '.join(NAMES)}.")
    files = [
        str(service.log.relative_to(ROOT))
        for service in DEVELOPMENT.all
        if service.log.exists() and (not names or service.name in names)
    ]
    if not files:
        raise Trouble("No logs yet: `make up` starts the stack.")
    os.execvp("tail", ["tail", "-n", "200", "-F", *files])


def one_off() -> tuple[dict[str, str], dict[str, int]]:
    """Start the backing services where needed; return the environment of the running target."""
    stack = DEVELOPMENT
    with stack.locked():
        ports = stack.ports()
        check_ports(stack, ports)
        stack.start_services(ports)
    web = stack.web.running()
    target, port = (web.label, web.port) if web else ("dev", wanted_port("web"))
    return environment.app(target, port, ports), ports


def manage_verb(*words: str) -> int:
    """Run manage.py beside running services."""
    environ, _ = one_off()
    return call(manage_py(*words), environ)


def env(*words: str) -> int:
    """Print the environment contract; starts nothing, since the environment may be broken."""
    web = DEVELOPMENT.web.running()
    target, port = (web.label, web.port) if web else ("dev", wanted_port("web"))
    return call(manage_py("env", *words), environment.app(target, port, DEVELOPMENT.ports()))


def makemigrations(*words: str) -> int:
    """Write migrations, as the dev target would."""
    _, ports = one_off()
    return call(manage_py("makemigrations", *words), environment.app("dev", 8000, ports))


def database(verb: str, *words: str) -> int:
    """Save, restore, dump or load the app's database; see scripts/database."""
    environ, _ = one_off()
    programs = services.postgres_program("psql").parent
    path = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    forced = {"FORCE": os.environ.get("FORCE", "")}
    status = call(["sh", "scripts/database", verb, *words], environ | path | forced, ROOT)
    if status == 0 and verb in ("restore", "load"):
        # The cache, sessions included, is of the other data.
        import redis

        redis.Redis.from_url(environ["REDIS_URL"]).flushall()
    return status


def db_upgrade() -> None:
    """Say how data of another major get here: wheels hold one server, never the older one too."""
    if not (DEVELOPMENT.data / "PG_VERSION").exists():
        raise Trouble("There is no database yet: `make up` makes one.")
    services.check_version(DEVELOPMENT.data)
    say("The database is of this PostgreSQL's major already: nothing to do.")


def debug() -> int:
    """Run web in the foreground, for a debugger to attach; without reload, which would lose it."""
    _, ports = one_off()
    with DEVELOPMENT.locked():
        DEVELOPMENT.web.stop()
    port, debug_port = wanted_port("web"), os.environ["DEBUG_PORT"]
    check_ports(DEVELOPMENT, ports | {"web": port})
    say(
        f"Attach to localhost:{debug_port}; the site is on http://localhost:{port}/. "
        "Ctrl-C ends; then make up."
    )
    debugger = [sys.executable, "-X", "frozen_modules=off", "-m", "debugpy"]
    runserver = ["manage.py", "runserver", "--noreload", f"{HOST}:{port}"]
    return call(
        [*debugger, "--listen", f"{HOST}:{debug_port}", *runserver],
        environment.app("dev", port, ports),
    )


def dbshell() -> int:
    """Open psql on the app's database."""
    environ, _ = one_off()
    return call([str(services.postgres_program("psql")), environ["DATABASE_URL"]], environ, ROOT)


def redis_cli() -> None:
    """Send lines to Valkey and print its answers: the wheel has no redis-cli."""
    # Here, since the other verbs need neither; readline gives input() a history where there is one.
    import redis

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401

    environ, _ = one_off()
    client = redis.Redis.from_url(environ["REDIS_URL"], decode_responses=True)
    prompt = f"{HOST}> " if sys.stdin.isatty() else ""
    while True:
        try:
            words = shlex.split(input(prompt))
        except EOFError:
            return
        except ValueError as error:
            print(f"(error) {error}")
            continue
        if words and words[0].lower() in ("exit", "quit"):
            return
        if words:
            try:
                pprint.pprint(client.execute_command(*words))
            except redis.RedisError as error:
                print(f"(error) {error}")


def test(*words: str) -> int:
    """Run the tests on servers of their own, which are stopped afterwards."""
    # So that a closed terminal or a CI's timeout stops the servers too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with TESTS.locked():
        try:
            TESTS.stop()
            forget_doubtful_data()
            ports = {"postgres": services.free_port(), "redis": services.free_port()}
            TESTS.start_services(ports)
            environ = environment.app("dev", services.free_port(), ports)
            environ["POSTGRES_PASSWORD"] = services.superuser_password(TESTS.data).read_text()
            return call(["sh", "scripts/test", *words], environ, ROOT)
        finally:
            TESTS.stop()


def forget_doubtful_data() -> None:
    """Delete the tests' data directory unless it was made from what is here, and stopped well.

    It is kept between runs, since making it takes longer than some tests; killed, it may be torn,
    as nothing waits for the disk.
    """
    mark = TESTS.home / "made-from"
    known = mark.exists() and mark.read_text() == services.made_from()
    if not known or (TESTS.data / "postmaster.pid").exists():
        shutil.rmtree(TESTS.data, ignore_errors=True)
        mark.write_text(services.made_from())


def tool(*words: str) -> int:
    """Run a program with the virtual environment's programs, and the settings mypy asks for."""
    ports = {name: wanted_port(name) for name in NAMES}
    # As in the set-up, uv writes nothing outside the clone.
    cache = {
        "UV_CACHE_DIR": str(LOCAL / "cache/uv"),
        "UV_PYTHON_INSTALL_DIR": str(LOCAL / "cache/python"),
    }
    return call(list(words), {**os.environ, **environment.app("dev", 8000, ports), **cache}, ROOT)


VERBS = {
    "up": up_dev,
    "up-prodlike": up_prodlike,
    "down": down,
    "reset": reset,
    "ps": ps,
    "logs": logs,
    "manage": manage_verb,
    "env": env,
    "makemigrations": makemigrations,
    "database": database,
    "db-upgrade": db_upgrade,
    "debug": debug,
    "dbshell": dbshell,
    "redis-cli": redis_cli,
    "test": test,
    "tool": tool,
}


def main(verb: str, *words: str) -> int:
    """Run a verb; return its exit status."""
    try:
        return VERBS[verb](*words) or 0  # type: ignore[operator]
    except Trouble as trouble:
        sys.stderr.write(f"{trouble}\n")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))

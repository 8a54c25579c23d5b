"""The services of one clone: PostgreSQL, Valkey, web and the worker."""

from __future__ import annotations

import contextlib
import fcntl
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from scripts.host import cluster, services
from scripts.host.environment import PORT_VARIABLES, ROOT, wanted_port
from scripts.host.errors import UserError
from scripts.host.ports import HOST, accepts_connections, port_owner
from scripts.host.processes import Program, Service


def say(line: str) -> None:
    """Print progress to stderr, so that the output of `make manage` can be redirected."""
    print(line, file=sys.stderr, flush=True)


class Stack:
    """The services with their data below ``home``.

    Without ``durable``, PostgreSQL never waits for the disk.
    """

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self.home = home
        self.durable = durable
        self.data = home / "postgres"
        self.postgres = Service(home, "postgres")
        self.redis = Service(home, "redis")
        self.web = Service(home, "web")
        self.worker = Service(home, "worker")
        self.services = (self.postgres, self.redis, self.web, self.worker)

    @contextlib.contextmanager
    def locked(self, *, wait: bool = True) -> Iterator[None]:
        """Hold this stack's lock, so that no other command changes the stack; wait for the lock.

        Raises BlockingIOError instead of waiting if ``wait`` is false.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise
                say("Waiting for another make in this clone.")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def ports(self) -> dict[str, int]:
        """Return the backing services' ports: the current ones if they run, else those wanted."""
        return {
            service.name: ((running := service.running()) and running.port)
            or wanted_port(service.name)
            for service in (self.postgres, self.redis)
        }

    def check_ports(self, ports: Mapping[str, int]) -> None:
        """Raise a UserError that names every port which another program uses."""
        taken = []
        for service in (service for service in self.services if service.name in ports):
            port = ports[service.name]
            running = service.running()
            is_own = (running and running.port == port) or service.orphans()
            if not is_own and accepts_connections(port):
                taken.append(
                    f"Port {port} is taken by {port_owner(port)}. Stop it, or choose another port "
                    f"with {PORT_VARIABLES[service.name]}={port + 100}."
                )
        if taken:
            raise UserError("\n".join(taken))

    def ensure(self, service: Service, program: Program) -> None:
        """Start a service, or restart it if its program has changed."""
        if service.ensure(program):
            address = f" on {HOST}:{program.port}" if program.port else ""
            say(f"  {service.name:<9} {program.label}{address}")

    def start_backing_services(self, ports: Mapping[str, int]) -> None:
        """Start PostgreSQL and Valkey, and create the data directory if there is none."""
        if not (self.data / "PG_VERSION").exists():
            say(f"  postgres  creating {self.data.relative_to(ROOT)}")
            cluster.create(self.postgres, self.data, durable=self.durable)
        cluster.check_version(self.data)
        if not self.postgres.running():
            cluster.remove_stale_pid_file(self.data)
        program = services.postgres(self.data, ports["postgres"], durable=self.durable)
        self.ensure(self.postgres, program)
        if cluster.ensure_owner(self.data, ports["postgres"]):
            say("  postgres  added the role that owns the tables")
        self.ensure(self.redis, services.valkey(self.home / "redis", ports["redis"]))

    def stop(self) -> None:
        """Stop the worker and web first, then the backing services."""
        for service in reversed(self.services):
            if service.record():
                service.stop()
                say(f"  {service.name:<9} stopped")

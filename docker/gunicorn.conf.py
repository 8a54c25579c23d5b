"""gunicorn as process manager in front of uvicorn workers; every number is in the contract.

https://docs.gunicorn.org/en/stable/settings.html
"""

import gc
import threading

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from environment.reading import load_or_exit
from serving import log_config

_env = load_or_exit(serving=True)

bind = f"0.0.0.0:{_env.PORT}"
workers = _env.WORKERS
worker_class = "serving.gunicorn_worker.Worker"
# Once for all workers, which share its memory. Nothing may connect, or start a thread, on import.
preload_app = True
keepalive = _env.KEEP_ALIVE
graceful_timeout = _env.GRACEFUL_TIMEOUT
# Heartbeats are files, and the root file system is read-only; memory never blocks on a disk.
worker_tmp_dir = "/dev/shm"  # noqa: S108
# Since gunicorn 25.1 a socket in $HOME, which a read-only root refuses with an ERROR.
control_socket_disable = True
# X-Forwarded-* is Django's to judge (TLS_IN_FRONT, TRUSTED_PROXY_COUNT), not the server's.
forwarded_allow_ips = ""

loglevel = _env.LOG_LEVEL.lower()
logconfig_dict = log_config.configure(_env.LOG_LEVEL, _env.LOG_FORMAT)
log_config.log_uncaught()


def when_ready(_server: Arbiter) -> None:
    """Keep the garbage collector off what is shared: its marks would copy the memory."""
    gc.collect()
    gc.freeze()


def post_worker_init(worker: Worker) -> None:
    """Check the pool arithmetic once a container, beside the start, not before it."""
    # Only now is Django set up.
    from backends.database import warn_if_too_many

    if worker.age == 1:
        threading.Thread(target=warn_if_too_many, args=[_env], daemon=True).start()

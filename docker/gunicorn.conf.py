"""gunicorn manages uvicorn workers. The environment contract declares every number.

https://docs.gunicorn.org/en/stable/settings.html
"""

import gc
import threading

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from environment.reading import load_or_exit
from serving import log_config

# Imports leave no garbage, and looking for it takes a tenth of the start.
gc.disable()

_env = load_or_exit(serving=True)

bind = f"0.0.0.0:{_env.PORT}"
workers = _env.WORKERS
worker_class = "serving.gunicorn_worker.DrainingWorker"
# The workers share the memory of one import. So no import may connect or start a thread.
preload_app = True
keepalive = _env.KEEP_ALIVE
graceful_timeout = _env.GRACEFUL_TIMEOUT
# Heartbeats are files, and the root file system is read-only. Files in memory never wait for disks.
worker_tmp_dir = "/dev/shm"  # noqa: S108
# gunicorn would create it in $HOME, and log an ERROR because the root file system is read-only.
control_socket_disable = True

loglevel = _env.LOG_LEVEL.lower()
logconfig_dict = log_config.configure(_env.LOG_LEVEL, _env.LOG_FORMAT)
log_config.log_uncaught()


def when_ready(_server: Arbiter) -> None:
    """Load what each worker would load at its first request, so that they share its memory.

    Then exclude these objects from garbage collection: marking them would copy their memory.
    """
    # They need Django, which the application has set up by now.
    from django.template import engines
    from django.urls import get_resolver

    get_resolver().url_patterns  # noqa: B018 - reading it imports the URLconf
    engines.all()
    gc.freeze()


def post_fork(_server: Arbiter, _worker: Worker) -> None:
    """Collect garbage in the workers only: the master makes none, and may load the app again."""
    gc.enable()


def post_worker_init(worker: Worker) -> None:
    """Compare PostgreSQL's settings with ours, once for each container, without delaying it."""
    # Needs Django, which the application has set up by now.
    from backends.database import warn_about_server

    if worker.age == 1:
        threading.Thread(target=warn_about_server, args=[_env], daemon=True).start()

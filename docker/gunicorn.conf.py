"""gunicorn as process manager in front of uvicorn workers; every number is in the contract.

https://docs.gunicorn.org/en/stable/settings.html
"""

from config.env import load

_env = load(serving=True)

bind = f"0.0.0.0:{_env.PORT}"
workers = _env.WORKERS
worker_class = "uvicorn_worker.UvicornWorker"
keepalive = _env.KEEP_ALIVE
graceful_timeout = _env.GRACEFUL_TIMEOUT
# Heartbeats are files, and the root file system is read-only; memory never blocks on a disk.
worker_tmp_dir = "/dev/shm"  # noqa: S108
# Since gunicorn 25.1 a socket in $HOME, which a read-only root refuses with an ERROR.
control_socket_disable = True
# X-Forwarded-* is Django's to judge (TLS_IN_FRONT, TRUSTED_PROXY_COUNT), not the server's.
forwarded_allow_ips = ""

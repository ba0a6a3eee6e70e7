"""`gunicorn -c gunicorn.conf.py app.main:app`, in development, in the container and in production alike."""

import gc
import os
import signal
from typing import Any

from app.core.logging import logging_config
from app.core.settings import load_settings

# Importing makes nothing that the collector could free, and would start it a hundred times: a tenth of the start.
gc.disable()
settings = load_settings()

# Some platforms reach their containers over IPv6: HOST=:: listens on both.
bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
workers = settings.web_concurrency
worker_class = "app.core.worker.Worker"
# The application is loaded once, before the fork: a wrong setting stops the start, and workers share its memory.
preload_app = not settings.reload
reload = settings.reload
graceful_timeout = settings.graceful_shutdown_seconds
keepalive = settings.keep_alive_seconds
# gunicorn would open a control socket below $HOME, which is read-only or missing in a container.
control_socket_disable = True
# Heartbeats are written to a file: on a disk they can block, and the container's /tmp may be one.
worker_tmp_dir = "/dev/shm"  # noqa: S108
logconfig_dict = logging_config(settings.log_level, settings.log_format)


def worker_int(worker: Any) -> None:
    """End a worker whose code has changed. gunicorn's reloader ends only its own thread; uvicorn ends at a signal."""
    os.kill(worker.pid, signal.SIGTERM)


def when_ready(server: Any) -> None:
    """Before the fork: what the application holds for good is neither walked by the collector nor copied by it."""
    gc.collect()
    gc.freeze()
    gc.enable()


def post_fork(server: Any, worker: Any) -> None:
    """Requests leave no cycles behind: look for some every 50,000 objects, not every 700."""
    gc.set_threshold(50_000, 20, 100)

"""gunicorn's configuration, in development, in the container and in production alike. `gunicorn.conf.py` imports it.

`python serve.py` is the same, and also says in a line what gunicorn ends at before it reads this file.
"""

import gc

# Before all other imports: they make nothing that the collector could free, and would start it a hundred times, which
# is a tenth of the start.
gc.disable()

import asyncio
import os
import signal
import sys
from typing import Any

from asyncpg import Connection

from groundwork.data.connection_limits import ConnectionLimitError, require_enough_connections
from groundwork.data.connector import Connector, connection_target
from groundwork.data.failures import CONNECTION_ERRORS
from groundwork.data.schema_state import Unfit, require_encoding
from groundwork.observe.logging import logging_config
from groundwork.observe.metrics import counts
from groundwork.observe.standard_error import never_block
from groundwork.serve.gunicorn_options import changed_options
from groundwork.serve.listening import in_url, no_address, probe
from groundwork.serve.settings import load_settings

never_block()
settings = load_settings()

# Some platforms reach their containers over IPv6: HOST=:: listens on both.
bind = [f"{in_url(settings.host)}:{port}" for port in (settings.port, settings.metrics_port) if port]
workers = settings.web_concurrency
counts.share(workers=workers)
worker_class = "groundwork.serve.worker.Worker"
# The application is loaded once, before the fork: a wrong setting stops the start, and workers share its memory.
preload_app = not settings.reload
reload = settings.reload
graceful_timeout = settings.graceful_shutdown_seconds
keepalive = settings.keep_alive_seconds
# gunicorn would open a control socket below $HOME, which is read-only or missing in a container.
control_socket_disable = True
# Heartbeats are written to a file: on a disk they can block, and the container's /tmp may be one. macOS has no such
# folder; there gunicorn takes the one for temporary files.
MEMORY = "/dev/shm"  # noqa: S108
worker_tmp_dir = MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else None
logconfig_dict = logging_config(settings.log_level, settings.log_format)
# The start waits no longer for a database that is asleep; the workers look again when they first reach it.
LOOK_SECONDS = 3


def on_starting(server: Any) -> None:
    """Refuse to start with what cannot work; a database that is away is no reason not to start."""
    if problems := changed_options(globals(), server.cfg):
        raise stop(*problems)
    try:
        probe(settings.host)
    except OSError:
        raise stop(no_address(settings.host)) from None
    try:
        asyncio.run(look_at_database(server.log))
    except ConnectionLimitError as error:
        raise stop(f"DATABASE_POOL_SIZE: {error}") from None
    except Unfit as error:
        raise stop(f"DATABASE_URL: {error}") from None
    except CONNECTION_ERRORS as error:
        server.log.warning("the database of DATABASE_URL cannot be reached now: %s", type(error).__name__)


def stop(*problems: str) -> SystemExit:
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return SystemExit(os.EX_CONFIG)


async def look_at_database(log: Any) -> None:
    async def when_direct(connection: Connection) -> None:
        sentence = await require_enough_connections(connection, workers=workers, pool_size=settings.database_pool_size)
        log.info("connections: %s", sentence)

    target = connection_target(settings.database_url.get_secret_value())
    connection = await Connector(target, timeout_seconds=LOOK_SECONDS, when_direct=when_direct)()
    require_encoding(connection.get_settings().server_encoding)
    await connection.close(timeout=LOOK_SECONDS)


def worker_int(worker: Any) -> None:
    """End a worker whose code has changed. gunicorn's reloader ends only its own thread; uvicorn ends at a signal."""
    os.kill(worker.pid, signal.SIGTERM)


def when_ready(server: Any) -> None:
    """Before the fork: what the application holds for good is neither walked by the collector nor copied by it."""
    gc.freeze()
    gc.enable()


def pre_fork(server: Any, worker: Any) -> None:
    worker.slot = counts.reserve()


def child_exit(server: Any, worker: Any) -> None:
    counts.release(worker.slot)


def post_fork(server: Any, worker: Any) -> None:
    counts.take(worker.slot)
    # Requests leave no cycles behind: look for some every 50,000 objects, not every 700.
    gc.set_threshold(50_000, 20, 100)

"""gunicorn's configuration: the same in development, in the container and in production. `gunicorn.conf.py` imports it.

`python serve.py` uses it, too. It also reports wrong settings that would end gunicorn before it reads this file.
"""

import gc

# Imports leave no garbage, but would start the collector a hundred times. That is a tenth of the start.
gc.disable()

import asyncio
import os
import signal
from collections.abc import Mapping
from typing import Any

from asyncpg import Connection

from groundwork.data.connection_limits import ConnectionLimitError, require_enough_connections
from groundwork.data.connector import Connector, connection_target
from groundwork.data.failures import CONNECTION_ERRORS
from groundwork.data.schema_state import Unfit, require_encoding
from groundwork.observe.logging import logging_config
from groundwork.observe.metrics import counts
from groundwork.observe.standard_error import never_block
from groundwork.serve.config_error import config_error
from groundwork.serve.listening import in_url, no_address, probe
from groundwork.serve.settings import load_settings

never_block()
settings = load_settings()

# HOST=:: listens on IPv6 and IPv4. Some platforms reach their containers over IPv6.
bind = [f"{in_url(settings.host)}:{port}" for port in (settings.port, settings.metrics_port) if port]
workers = settings.web_concurrency
counts.share(workers=workers)
worker_class = "groundwork.serve.worker.Worker"
# The application is loaded once, before the fork. So an error in it stops the start, and the workers share its memory.
preload_app = not settings.reload
reload = settings.reload
graceful_timeout = settings.graceful_shutdown_seconds
keepalive = settings.keep_alive_seconds
# gunicorn would open a control socket under $HOME, which is read-only or missing in a container.
control_socket_disable = True
# Each worker's heartbeat is a file. Writing to a disk can block, and the container's /tmp may be on one, so the file is
# kept in memory. macOS has no such folder; there gunicorn uses the folder for temporary files.
MEMORY = "/dev/shm"  # noqa: S108
worker_tmp_dir = MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else None
logconfig_dict = logging_config(settings.log_level, settings.log_format, settings.log_members)
# The service relies on these options. It reads the settings, and would not notice a change by gunicorn's command line.
_SETTING = {
    "workers": "WEB_CONCURRENCY",
    "bind": "HOST, PORT and METRICS_PORT",
    "reload": "RELOAD",
    "graceful_timeout": "GRACEFUL_SHUTDOWN_SECONDS",
    "keepalive": "KEEP_ALIVE_SECONDS",
    "preload_app": "RELOAD=false",
    "worker_class": None,
    "logconfig_dict": "LOG_LEVEL and LOG_FORMAT",
}
# How long the start waits for the database. The workers check again when they first connect.
CHECK_SECONDS = 3


def on_starting(server: Any) -> None:
    """Refuse settings that cannot work. A database that is away does not stop the start."""
    if problems := changed_options(globals(), server.cfg):
        raise config_error(*problems)
    try:
        probe(settings.host)
    except OSError:
        raise config_error(no_address(settings.host)) from None
    if not settings.database_open_at_start:
        return  # a database that sleeps is not to be woken
    try:
        asyncio.run(check_database(server.log))
    except ConnectionLimitError as error:
        raise config_error(f"DATABASE_POOL_SIZE: {error}") from None
    except Unfit as error:
        raise config_error(f"DATABASE_URL: {error}") from None
    except CONNECTION_ERRORS as error:
        server.log.warning("the database of DATABASE_URL cannot be reached now: %s", type(error).__name__)


def changed_options(meant: Mapping[str, Any], config: Any) -> list[str]:
    """A line for each option that was changed outside the configuration file.

    Args:
        meant: the configuration file's values.
        config: gunicorn's configuration, its command line included.
    """
    source = "GUNICORN_CMD_ARGS" if os.environ.get("GUNICORN_CMD_ARGS") else "gunicorn's command line"
    return [
        f"{source}: must not change {name}; "
        + (f"set {setting} instead" if setting else "it stays as it is, so leave it out")
        for name, setting in _SETTING.items()
        if config.settings[name].get() != meant[name]
    ]


async def check_database(log: Any) -> None:
    async def when_direct(connection: Connection) -> None:
        sentence = await require_enough_connections(connection, workers=workers, pool_size=settings.database_pool_size)
        log.info("connections: %s", sentence)

    target = connection_target(settings.database_url.get_secret_value())
    connection = await Connector(target, timeout_seconds=CHECK_SECONDS, when_direct=when_direct)()
    require_encoding(connection.get_settings().server_encoding)
    await connection.close(timeout=CHECK_SECONDS)


def worker_int(worker: Any) -> None:
    """End a worker whose code has changed. gunicorn's reloader ends only its own thread; uvicorn needs a signal."""
    os.kill(worker.pid, signal.SIGTERM)


def when_ready(server: Any) -> None:
    """Take the application's objects out of the collector before the fork.

    The collector would otherwise visit them again and again, and so copy the memory that the workers share.
    """
    gc.freeze()
    gc.enable()


def pre_fork(server: Any, worker: Any) -> None:
    worker.slot = counts.reserve()


def child_exit(server: Any, worker: Any) -> None:
    counts.release(worker.slot)


def post_fork(server: Any, worker: Any) -> None:
    counts.take(worker.slot)
    # Requests leave no cycles behind, so look for cycles every 50,000 objects and not every 700.
    gc.set_threshold(50_000, 20, 100)

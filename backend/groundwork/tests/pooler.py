"""Runs PgBouncer in transaction mode, as hosts of PostgreSQL do, with or without tracking of prepared statements."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from groundwork.dev.children import end_with_parent
from groundwork.dev.postgres import nobody
from groundwork.tests.process.server import free_port

MISSING = "no pgbouncer here: install the package `pgbouncer` of your system"
MISSING_TRACKING = (
    "no pgbouncer here that tracks prepared statements: install 1.21 or newer, or name one in the variable"
    " TRACKING_PGBOUNCER"
)

CHANGES = (
    "ALTER TABLE tasks ADD COLUMN priority integer NOT NULL DEFAULT 3",
    "ALTER TABLE tasks ALTER COLUMN title TYPE text",
    "ALTER TABLE tasks DROP COLUMN priority",
    "ALTER TABLE tasks ALTER COLUMN title TYPE varchar(200)",
    "ALTER TABLE tasks DROP COLUMN description, ADD COLUMN description varchar(1000)",
)
"""Each change breaks a kept prepared statement or changes its result. All of them still accept the service's writes."""

_START_SECONDS = 20
_CONFIGURATION = """\
[databases]
* = host={host} port={port}

[pgbouncer]
pool_mode = transaction
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
admin_users = {user}
max_client_conn = 1000
default_pool_size = 20
server_login_retry = 0
"""
_TRACKS_SINCE = (1, 21)


class Pooler:
    def __init__(self, port: int, process: subprocess.Popen[bytes], configuration: Path) -> None:
        self._port = port
        self._process = process
        self._configuration = configuration

    async def renew_sessions(self, direct: str) -> None:
        """Close the pooler's sessions when they are not in use, so that it opens new ones.

        Args:
            direct: the URL of any of the databases.
        """
        console = await asyncpg.connect(urlsplit(self.url(direct))._replace(path="/pgbouncer").geturl())
        await console.execute("RECONNECT")
        await console.close()
        # A login that has begun fails now, and so do the clients that wait for it.
        async with asyncio.timeout(10):
            while not await self._answers(direct):  # noqa: ASYNC110 - nothing tells when it does
                await asyncio.sleep(0.05)

    async def _answers(self, direct: str) -> bool:
        try:
            client = await asyncpg.connect(self.url(direct), statement_cache_size=0)
        except (OSError, asyncpg.PostgresError):
            return False
        try:
            await client.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        finally:
            await client.close()
        return True

    def set(self, **settings: object) -> None:
        """Change settings while clients are connected. The last value of a setting counts."""
        with self._configuration.open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        self._process.send_signal(signal.SIGHUP)

    def url(self, direct: str) -> str:
        """The same database through the pooler."""
        parts = urlsplit(direct)
        user_info = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{user_info}@127.0.0.1:{self._port}").geturl()


def is_installed(*, tracking: bool = False) -> bool:
    return _program(tracking=tracking) is not None


@contextmanager
def running_pooler(server: str, *, tracking: bool = False, **settings: object) -> Iterator[Pooler]:
    """A pooler in front of the server of this URL. If the tests run as root, it runs as nobody, because it must.

    Args:
        tracking: whether to run a version that tracks prepared statements, with its default number of them.
        settings: more settings of PgBouncer.
    """
    program = _program(tracking=tracking)
    assert program, MISSING_TRACKING if tracking else MISSING
    if not tracking and _version(program) >= _TRACKS_SINCE:
        settings = {"max_prepared_statements": 0, **settings}
    elif tracking:
        settings = {"max_prepared_statements": 200, **settings}
    parts = urlsplit(server)
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        users, configuration, log = (Path(name) / file for file in ("users", "configuration", "log"))
        users.write_text(f'"{unquote(parts.username or "")}" "{unquote(parts.password or "")}"\n')
        configuration.write_text(
            _CONFIGURATION.format(
                host=parts.hostname,
                port=parts.port,
                listen_port=port,
                users=users,
                user=unquote(parts.username or ""),
            )
            + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )
        user, group = None, None
        if not os.geteuid():
            user, group = nobody()
            for path in (Path(name), users, configuration):
                os.chown(path, *nobody())
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=end_with_parent(signal.SIGINT),  # noqa: PLW1509
                user=user,
                group=group,
            )
        try:
            _wait_until_it_listens(process, port, log)
            yield Pooler(port, process, configuration)
        finally:
            # When they are asked to end, newer versions wait for their clients.
            process.kill()
            process.wait()


def _program(*, tracking: bool) -> str | None:
    # Debian installs it in a folder that is only in root's PATH.
    found = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if not tracking:
        return found
    named = os.environ.get("TRACKING_PGBOUNCER") or found
    return named if named and _version(named) >= _TRACKS_SINCE else None


@cache
def _version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", said)
    assert found, said
    return tuple(map(int, found.groups()))


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.02)
    raise AssertionError(f"pgbouncer does not listen:\n{log.read_text()}")

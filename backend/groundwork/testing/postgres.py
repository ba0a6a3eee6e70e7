"""The PostgreSQL server of the tests: from Testcontainers if a container engine answers, else the embedded one."""

import asyncio
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from groundwork.dev.postgres import EmbeddedPostgres

TEMPLATE = "template_of_tests"
"""The name of the migrated database. Each test gets a copy of it."""
IMAGE = "postgres:17-trixie"
# The same as in docker-compose.yml, in deploy/vm and in the embedded server.
_INITDB = "--locale-provider=builtin --locale=C.UTF-8"
# Faster, because no data of a test needs to survive a crash of the machine.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
_LONGEST_REASON = 120

_numbers = itertools.count(1)
changes_of_choice: list[str] = []
"""What is different from the announcement of `describe_choice`. It is reported at the end of the run."""


class Server:
    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    def url(self, database: str) -> str:
        return self._url._replace(path=f"/{database}").geturl()

    def create_database(self, name: str, template: str = "template0") -> None:
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """The URL of a copy of the template, by default an empty database. It is dropped when the block ends."""
        name = f"test_{next(_numbers)}"
        self.create_database(name, template=template)
        yield self.url(name)
        self.drop_database(name)

    def create_encoded_database(self, name: str, encoding: str) -> None:
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C'")

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, sql: str, database: str = "postgres") -> Any:
        """Run SQL as the superuser on a connection of its own, even while another event loop runs."""

        async def run() -> Any:
            connection = await asyncpg.connect(self.url(database))
            try:
                return await connection.fetchval(sql)
            finally:
                await connection.close()

        return asyncio.run(run())


@contextmanager
def running_server(directory: Path) -> Iterator[Server]:
    with ExitStack() as stack:
        url = _start_container(stack) if container_engine() else None
        if url is None:
            url = stack.enter_context(EmbeddedPostgres(directory / "data", durable=False, settings=_FAST)).url()
        yield Server(url)


def _start_container(stack: ExitStack) -> str | None:
    """The URL of a server in a container that runs until the stack is closed; None if it cannot be started."""
    from docker.errors import DockerException  # noqa: PLC0415 - slow, needs an engine
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415

    options = " ".join(f"-c {name}={value}" for name, value in _FAST.items())
    container = PostgresContainer(IMAGE, driver=None).with_command(f"postgres {options}")
    container.with_env("POSTGRES_INITDB_ARGS", _INITDB)
    # The data is in memory, so a copy of the template takes a third of the time.
    container.with_tmpfs_mount("/var/lib/postgresql/data")
    try:
        return str(stack.enter_context(container).get_connection_url())
    except DockerException as error:
        changes_of_choice.append(
            f"the embedded one was used, because {container_engine()} cannot start {IMAGE}: {reason_of(error)}."
            " Mend that, or set NO_CONTAINERS=1, which does not try."
        )
        return None


def reason_of(error: Exception) -> str:
    """Why a container could not be started, in one line: what the engine says, without the addresses that it asked."""
    explanation = str(getattr(error, "explanation", None) or error)
    first = next(iter(explanation.strip().splitlines()), type(error).__name__)
    return shorten(re.sub(r'(\w+ )?"?[a-z+]+://[^\s"]+"?:? ?', "", first), _LONGEST_REASON, placeholder=" …").rstrip(
        "."
    )


def describe_choice() -> str:
    """What is tried. Whether a container starts is known only when the first test needs it."""
    engine = container_engine()
    if engine:
        return f"{IMAGE} in {engine}, or embedded if that cannot start, which the end of this output then says"
    return "embedded, because no container engine answers (start Docker to test on the image)"


@cache
def container_engine() -> str:
    """The container engine that answers; "" if there is none, or if NO_CONTAINERS=1 is set."""
    if os.environ.get("NO_CONTAINERS"):
        return ""
    try:
        answer = subprocess.run(
            ["docker", "version", "--format", "Docker {{.Server.Version}}"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def migrate(url: str, folder: Path, revision: str = "head") -> None:
    alembic(folder, url, "upgrade", revision)


def alembic(folder: Path, url: str, *arguments: str, module: str = "alembic") -> str:
    """Run Alembic, or a module that calls it, in a process of its own, as a deployment does.

    Args:
        folder: the folder with the file `alembic.ini`.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={**os.environ, "DATABASE_URL": url, "DATABASE_DIRECT_URL": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{module} {' '.join(arguments)} fails:\n{done.stdout}{done.stderr}"
    return done.stdout

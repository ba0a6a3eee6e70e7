"""The databases of the benchmark: the service's table, made by its migrations, with the same rows for each service."""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg

from groundwork.dev.__main__ import BACKEND
from groundwork.dev.postgres import EmbeddedPostgres

SMALL_ROWS = 10_000
MANY = 100_000
_PREFIX = "benchmark_"
_FILL_SECONDS = 3600

# One task is created per second, so the order of creation is that of the ids (UUIDv7). The tasks of users are mixed as
# in real use: a page of one user's tasks is spread over the table. A user has about a hundred tasks. `bench` has 20,
# `few` has 10, and `many` has 100,000 if the table is large enough.
_FILL = """
INSERT INTO tasks (user_id, id, title, description, completed, created_at, updated_at)
SELECT
    CASE
        WHEN g % ($1 / 10) = 1 THEN 'few'
        WHEN g % ($1 / 20) = 2 THEN 'bench'
        WHEN $2 AND g % ($1 / 100000) = 0 THEN 'many'
        ELSE 'user' || g % ($1 / 100 - 1)
    END,
    (lpad(to_hex(1767225600000 + g * 1000), 12, '0') || '70008' || lpad(to_hex(g), 15, '0'))::uuid,
    'Task number ' || g,
    repeat('lorem ipsum ', 7) || 'lorem ipsum',
    g % 3 = 0,
    to_timestamp(1767225600 + g),
    to_timestamp(1767225600 + g)
FROM generate_series(1::bigint, $1::bigint) AS g
"""
# Tasks from all over the table.
_SOME = """
SELECT user_id, id FROM tasks TABLESAMPLE BERNOULLI (least(100, 100.0 * $1 / $2::bigint)) REPEATABLE (7)
WHERE user_id LIKE 'user%'
"""
_OF_USER = "SELECT user_id, id FROM tasks WHERE user_id = $1 ORDER BY id DESC OFFSET $2 LIMIT $3"


class Key(NamedTuple):
    user_id: str
    task_id: str


class Database:
    """One database. Each call runs SQL on a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def execute(self, sql: str, *values: Any) -> None:
        self._run("execute", sql, *values)

    def value(self, sql: str) -> Any:
        return self._run("fetchval", sql)

    def migrate(self) -> None:
        environment = {**os.environ, "DATABASE_URL": self.url, "DATABASE_DIRECT_URL": ""}
        command = [sys.executable, "-m", "alembic", "upgrade", "head"]
        done = subprocess.run(command, cwd=BACKEND, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the migrations failed:\n{done.stderr}")

    def fill(self, rows: int) -> None:
        self.execute(_FILL, rows, rows > MANY)
        self.tidy()

    def tidy(self) -> None:
        """Do the server's background work now, so that it does not happen during a measurement."""
        self.execute("VACUUM (ANALYZE) tasks")
        self.execute("CHECKPOINT")

    def some_tasks(self, count: int, rows: int) -> list[Key]:
        """About `count` tasks of ordinary users, from all over a table of `rows` rows, in no order."""
        keys = self._keys(_SOME, count, rows)
        random.Random(7).shuffle(keys)
        return keys

    def tasks_of(self, user_id: str, *, skip: int = 0, limit: int = 1000) -> list[Key]:
        """The user's tasks, the newest first."""
        return self._keys(_OF_USER, user_id, skip, limit)

    def _keys(self, sql: str, *values: Any) -> list[Key]:
        return [Key(user_id, str(task_id)) for user_id, task_id in self._run("fetch", sql, *values)]

    def _run(self, method: str, sql: str, *values: Any) -> Any:
        async def run() -> Any:
            connection = await asyncpg.connect(self.url)
            try:
                return await getattr(connection, method)(sql, *values, timeout=_FILL_SECONDS)
            finally:
                await connection.close()

        return asyncio.run(run())


class Server:
    """A PostgreSQL server on which databases can be made."""

    def __init__(self, url: str, process_id: int = 0) -> None:
        self._url = urlsplit(url)
        self._own = Database(url)
        self.process_id = process_id
        """The server's process; 0 if it is not known."""
        self.version = str(self._own.value("SHOW server_version")).partition(" ")[0]

    @contextmanager
    def database(self, name: str, copy_of: str = "") -> Iterator[Database]:
        """A new database that is dropped at the end of the block."""
        template = f" TEMPLATE {_PREFIX}{copy_of}" if copy_of else ""
        self._drop(name)
        self._own.execute(f"CREATE DATABASE {_PREFIX}{name}{template}")
        try:
            yield Database(self._url._replace(path=f"/{_PREFIX}{name}").geturl())
        finally:
            self._drop(name)

    def _drop(self, name: str) -> None:
        self._own.execute(f"DROP DATABASE IF EXISTS {_PREFIX}{name} WITH (FORCE)")


@contextmanager
def running_server() -> Iterator[Server]:
    """The server of DATABASE_URL, or an embedded one.

    The embedded one does not wait for the disk (fsync is off), because the service is measured and not the disk.
    """
    if url := os.environ.get("DATABASE_URL"):
        yield Server(url)
        return
    with tempfile.TemporaryDirectory() as directory, EmbeddedPostgres(Path(directory) / "data", durable=False) as own:
        yield Server(own.url(), own.process_id)

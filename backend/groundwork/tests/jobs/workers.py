"""Worker processes, as `python worker.py` starts them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from groundwork.tests.process import server

_CODE = """
import os, sys
from groundwork.jobs import run, worker
worker.GRACE_SECONDS = 0.2
worker.BLOCKED_SECONDS = float(os.environ.get("BLOCKED_SECONDS", worker.BLOCKED_SECONDS))
sys.exit(run.main("groundwork.tests.jobs.example", sys.argv[1:]))
"""


class Worker:
    """A started worker, and its log."""

    def __init__(self, log: Path, *arguments: str, **variables: str) -> None:
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _CODE, *arguments],
                cwd=server.BACKEND,
                env=server.environment(**variables),
                stdout=output,
                stderr=output,
            )

    def log(self) -> str:
        return self._log.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + server.START_SECONDS
        while "the worker does these jobs" not in self.log():
            assert time.monotonic() < deadline, self.log()
            assert self.process.poll() is None, self.log()
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(40)


@contextmanager
def working(folder: Path, **options: Any) -> Iterator[Worker]:
    """A worker that runs during the block."""
    worker = Worker(folder / f"worker-{os.urandom(4).hex()}.log", **options)
    try:
        worker.wait_until_ready()
        yield worker
    finally:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait()


def once(folder: Path, **variables: str) -> Worker:
    """A worker that has done everything that was due."""
    worker = Worker(folder / f"once-{os.urandom(4).hex()}.log", "once", **variables)
    worker.process.wait(60)
    return worker


async def add(queue: asyncpg.Connection, name: str, count: int = 1, **columns: Any) -> list[int]:
    """Add jobs with SQL. Returns their ids."""
    columns = {"payload": "{}", **columns}
    names = ", ".join(columns)
    places = ", ".join(f"${place}" for place in range(3, len(columns) + 3))
    found = await queue.fetch(
        f"INSERT INTO jobs (name, {names}) SELECT $1, {places} FROM generate_series(1, $2) RETURNING id",
        name,
        count,
        *columns.values(),
    )
    await queue.execute("NOTIFY jobs")
    return [row["id"] for row in found]


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 120) -> None:
    """Wait until the condition holds. A job whose worker was interrupted is begun again after 90 s."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - nothing tells when the worker is done
            await asyncio.sleep(0.02)


async def until_empty(queue: asyncpg.Connection, seconds: float = 120) -> None:
    """Wait until every job is done, or has failed for good."""

    async def empty() -> bool:
        return not await queue.fetchval("SELECT count(*) FROM jobs WHERE failed_at IS NULL AND schedule IS NULL")

    await until(empty, seconds)


async def effects(queue: asyncpg.Connection) -> list[tuple[int, int]]:
    """What the jobs have done: their ids and attempts, in order."""
    return [(row["job"], row["attempt"]) for row in await queue.fetch("SELECT job, attempt FROM effects ORDER BY id")]

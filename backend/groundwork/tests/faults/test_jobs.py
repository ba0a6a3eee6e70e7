"""Workers are killed at random while jobs are added, and the database is restarted. Run by `make test-faults`."""

import asyncio
import random
import signal
import time
from collections import Counter
from pathlib import Path

import asyncpg

from groundwork.tests.faults.cluster import IMMEDIATE, Cluster
from groundwork.tests.faults.conftest import Say
from groundwork.tests.jobs.tables import create_tables
from groundwork.tests.jobs.workers import Worker, add, effects, until_empty

SECONDS = 30
AT_ONCE = 3
"""How many jobs a worker of the example does at once."""
KEYS = ("a", "b")
NAMES = ("once", "at_least_once")


class Killed:
    """Two workers. Again and again one of them is killed, and a new one takes its place."""

    def __init__(self, log: Path, url: str) -> None:
        self._log, self._url = log, url
        self._workers = [self._start(), self._start()]
        self.kills = 0

    def _start(self) -> Worker:
        return Worker(self._log, DATABASE_URL=self._url, JOBS_POLL_SECONDS="1")

    async def kill(self, until: float) -> None:
        while time.monotonic() < until:
            # A start takes about a second, and some workers must live long enough to do a job.
            await asyncio.sleep(random.uniform(0.1, 2.5))
            victim = random.randrange(2)
            self._workers[victim].stop(signal.SIGKILL)
            self._workers[victim] = self._start()
            self.kills += 1

    def end(self) -> None:
        for worker in self._workers:
            worker.stop()


async def _add(url: str, until: float, keys: dict[int, str | None]) -> None:
    """Add jobs. `keys` gets the keys of the jobs that the database has confirmed, by the jobs' ids."""
    while time.monotonic() < until:
        try:
            connection = await asyncpg.connect(url)
            try:
                while time.monotonic() < until:
                    key = random.choice((None, None, *KEYS))
                    payload = f'{{"seconds": {random.choice((0, 0, 0.05, 0.3))}}}'
                    [id_] = await add(connection, random.choice(NAMES), key=key, payload=payload)
                    keys[id_] = key
                    await asyncio.sleep(0.03)
            finally:
                await connection.close(timeout=1)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await asyncio.sleep(0.1)


async def test_nothing_is_lost_while_workers_are_killed_and_the_database_restarts(
    cluster: Cluster, tmp_path: Path, say: Say
) -> None:
    connection = await asyncpg.connect(cluster.url())
    await create_tables(connection)
    await connection.close()
    killed = Killed(tmp_path / "workers.log", cluster.url())
    keys: dict[int, str | None] = {}
    until = time.monotonic() + SECONDS

    async def restart() -> None:
        await asyncio.sleep(SECONDS / 2)
        await asyncio.to_thread(cluster.stop, IMMEDIATE)
        await asyncio.sleep(1)
        await asyncio.to_thread(cluster.start)

    try:
        await asyncio.gather(_add(cluster.url(), until, keys), killed.kill(until), restart())
        connection = await asyncpg.connect(cluster.url())
        await until_empty(connection, 60)
        done = [job for job, _ in await effects(connection)]
        once = {row["job"] for row in await connection.fetch("SELECT job FROM effects WHERE name = 'once'")}
        failed = await connection.fetch("SELECT * FROM jobs WHERE failed_at IS NOT NULL")
        await connection.close()
    finally:
        killed.end()
    repeated = [job for job, count in Counter(done).items() for _ in range(count - 1)]
    say(f"{len(keys)} jobs, {killed.kills} kills, {len(repeated)} done again")
    assert not failed
    # A job that was added at the moment of the restart and not confirmed may be there or not.
    assert set(keys) <= set(done)
    assert not set(repeated) & once
    # A kill, or a restart of the database, interrupts at most as many jobs as a worker does at once.
    assert len(repeated) <= AT_ONCE * (killed.kills + 2)
    for key in KEYS:
        in_order = [job for job in done if keys.get(job) == key]
        assert in_order == sorted(in_order)

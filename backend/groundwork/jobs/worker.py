"""Takes jobs from the queue, and sleeps while there is nothing to do."""

import asyncio
import faulthandler
import logging
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from typing import Any

from asyncpg import Connection

from groundwork.data.database import Database
from groundwork.data.failures import CONNECTION_ERRORS
from groundwork.data.listen import BehindPooler, listen
from groundwork.data.target import ConnectionTarget
from groundwork.errors import Unavailable
from groundwork.jobs import queue
from groundwork.jobs.attempt import attempt, schedule
from groundwork.jobs.handlers import Job, Jobs
from groundwork.jobs.records import CHANNEL
from groundwork.serve.config_error import config_error

logger = logging.getLogger("worker")

_DIRECT = "DATABASE_DIRECT_URL"

# How long after a job's timeout another worker may begin it again, because the first worker seems to have ended.
GRACE_SECONDS = 30
# If a job blocks the event loop for longer, the process ends.
BLOCKED_SECONDS = 30
_AWAY_SECONDS = 5
# The shortest pause when a job is due and none could be begun. Another worker may have locked it for a moment.
_LOCKED_SECONDS = 1
_MEASURE_SECONDS = 10


class Worker:
    """Does jobs until it is told to stop.

    Args:
        jobs: the functions that do the jobs.
        database: its pool has at least one connection more than the number of jobs that are done at once.
        direct: the address of PostgreSQL itself. A connection with LISTEN there tells of new jobs.
        poll_seconds: the pause after the database has closed that connection, as Neon does when it stops a compute. To
            connect at once would start the compute again.
    """

    def __init__(self, jobs: Jobs, database: Database, direct: ConnectionTarget, *, poll_seconds: float) -> None:
        self._jobs = jobs
        self._database = database
        self._direct = direct
        self._poll_seconds = poll_seconds
        leases = [timedelta(seconds=each.timeout_seconds + GRACE_SECONDS) for each in jobs.handlers.values()]
        self._known: dict[str, Any] = {"names": list(jobs.handlers), "leases": leases}
        self._listening: Connection | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopping = False
        self._measured = 0.0
        # What was in the queue a few seconds ago, or before the worker went to sleep.
        self.state = queue.QueueState()

    def stop(self) -> None:
        """Take no more jobs, and end when the running jobs are done."""
        self._stopping = True
        self._wake.set()

    async def run(self, *, stop_seconds: float, until_empty: bool = False) -> None:
        """Do jobs until `stop`.

        Args:
            stop_seconds: how long jobs may go on after `stop`.
            until_empty: end when no job is due.

        Raises:
            Unavailable: the database is away, with `until_empty`. Otherwise the worker waits for it.
            SystemExit: a pooler is between the worker and the database, so nothing would tell it of new jobs.
            asyncpg.PostgresError: the table cannot be used.
        """
        watch = asyncio.create_task(_end_when_blocked())
        try:
            while not self._stopping:
                self._wake.clear()
                try:
                    pause = await self._look()
                except Unavailable as error:
                    if until_empty:
                        raise
                    logger.warning("the database is away; the worker tries again in %d s: %s", _AWAY_SECONDS, error)
                    pause = _AWAY_SECONDS
                if until_empty and not self._running and pause != 0:
                    break
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)
        finally:
            if self._running:
                await asyncio.wait(self._running, timeout=stop_seconds)
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            watch.cancel()
            faulthandler.cancel_dump_traceback_later()
            if self._listening:
                self._listening.terminate()

    async def _look(self) -> float | None:
        """Begin the jobs that are due. Returns the seconds until the next look; None to wait until `_wake` is set."""
        if self._listening is None:
            await self._listen()
            for name, handler in self._jobs.handlers.items():
                await schedule(self._database, name, handler)
        free = self._jobs.concurrency - len(self._running)
        if monotonic() > self._measured + _MEASURE_SECONDS:
            await self._measure()
        if not free:
            return None
        claimed: list[Job] = await self._database.all(queue.CLAIM, **self._known, limit=free)
        for job in claimed:
            task = asyncio.create_task(attempt(self._jobs.handlers[job.name], job, self._database))
            self._running.add(task)
            task.add_done_callback(self._ended)
        if claimed:
            return 0
        await self._measure()
        return None if self.state.seconds is None else max(self.state.seconds, _LOCKED_SECONDS)

    async def _measure(self) -> None:
        [self.state] = await self._database.all(queue.STATE, **self._known)
        self._measured = monotonic()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()

    async def _listen(self) -> None:
        try:
            self._listening = await listen(self._direct, CHANNEL, lambda _: self._wake.set(), self._lost, seconds=10)
        except BehindPooler:
            raise config_error(f"{_DIRECT}: must lead to PostgreSQL itself, not to a pooler") from None
        except CONNECTION_ERRORS as error:
            raise Unavailable(
                f"the worker cannot connect: {error}; start the database, or correct {_DIRECT}"
            ) from error

    def _lost(self) -> None:
        self._listening = None
        asyncio.get_running_loop().call_later(self._poll_seconds, self._wake.set)


async def _end_when_blocked() -> None:
    """End the process with a traceback when a job blocks the event loop, because no timeout can end such a job."""
    while True:
        faulthandler.dump_traceback_later(BLOCKED_SECONDS, exit=True)
        await asyncio.sleep(BLOCKED_SECONDS / 3)

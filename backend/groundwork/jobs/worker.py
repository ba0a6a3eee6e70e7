"""Takes jobs from the queue, runs them, and sleeps while there is nothing to do."""

import asyncio
import faulthandler
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from groundwork.data.database import Database
from groundwork.errors import Unavailable
from groundwork.jobs import queue
from groundwork.jobs.attempt import attempt, schedule
from groundwork.jobs.handlers import Job, Jobs
from groundwork.jobs.listener import Listener

logger = logging.getLogger("worker")

LEASE_SECONDS = 60
"""A worker reports three times in this time that its jobs go on. If it does not, another one takes them over."""

_AWAY_SECONDS = 5
# A job that is due may be locked for a moment.
_LOCKED_SECONDS = 1


class Worker:
    """Does jobs until it is told to stop.

    Args:
        jobs: their functions.
        database: has at least one connection more than jobs are done at once.
        listener: sets `wake`.
        wake: what the worker waits for while there is nothing to do.
        stop_seconds: how long jobs may go on after `stop`.
        lease_seconds: see LEASE_SECONDS.
    """

    def __init__(
        self,
        jobs: Jobs,
        database: Database,
        listener: Listener,
        wake: asyncio.Event,
        *,
        stop_seconds: float,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._jobs = jobs
        self._database = database
        self._listener = listener
        self._wake = wake
        self._stop_seconds = stop_seconds
        self._lease_seconds = lease_seconds
        self._running: dict[asyncio.Task[None], Job] = {}
        self._stopping = False
        self.state = queue.QueueState(waiting=0, running=0, failed=0, due_since=None)
        """What was in the queue before the worker last went to sleep."""

    def stop(self) -> None:
        """Take no more jobs, and end when those that run are done."""
        self._stopping = True
        self._wake.set()

    async def run(self, *, until_empty: bool = False) -> None:
        """Do jobs until `stop`.

        Args:
            until_empty: end when no job is due.

        Raises:
            Unavailable: the database is away, with `until_empty`. Otherwise the worker waits for it.
            asyncpg.UndefinedTableError: the table is missing.
        """
        reporting = asyncio.create_task(self._report())
        try:
            step: Callable[[], Awaitable[float | None]] = self._begin
            while not self._stopping:
                self._wake.clear()
                try:
                    pause = await step()
                    step = self._look
                except Unavailable as error:
                    if until_empty:
                        raise
                    logger.warning("the database is away, the next look is in %d s: %s", _AWAY_SECONDS, error)
                    pause = _AWAY_SECONDS
                if until_empty and not self._running and pause != 0:
                    break
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)
        finally:
            await self._end_jobs()
            reporting.cancel()
            await self._listener.close()

    async def _begin(self) -> float:
        for name, handler in self._jobs.handlers.items():
            await schedule(self._database, name, handler)
        return 0

    async def _look(self) -> float | None:
        """Begin jobs. Returns in how many seconds the next look is; None if only `wake` leads to it."""
        await self._listener.ensure()
        names = list(self._jobs.handlers)
        free = self._jobs.concurrency - len(self._running)
        if free == 0:
            return None
        lease = queue.seconds(self._lease_seconds)
        claimed = await self._database.all(queue.CLAIM, names=names, limit=free, lease=lease)
        for job in sorted(claimed, key=lambda each: each.id):
            task = asyncio.create_task(attempt(self._jobs.handlers[job.name], job, self._database))
            self._running[task] = job
            task.add_done_callback(self._ended)
        if claimed:
            return 0
        self.state = await self._database.one(queue.STATE) or self.state
        found = await self._database.one(queue.NEXT, names=names)
        return None if found is None or found.seconds is None else max(found.seconds, _LOCKED_SECONDS)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._wake.set()
        if not task.cancelled() and (error := task.exception()):
            logger.error("a defect in the worker", exc_info=error)

    async def _report(self) -> None:
        """Say that the jobs go on. If a job blocks the event loop for too long, the process ends with a traceback."""
        while True:
            faulthandler.dump_traceback_later(self._lease_seconds, exit=True)
            await asyncio.sleep(self._lease_seconds / 3)
            # A job in a transaction has its row locked, which keeps other workers away.
            running = [each for each in self._running.values() if not self._jobs.handlers[each.name].in_transaction]
            if running:
                ids, sinces = [each.id for each in running], [each.running_since for each in running]
                lease = queue.seconds(self._lease_seconds)
                try:
                    await self._database.execute(queue.RENEW, job_ids=ids, sinces=sinces, lease=lease)
                except Unavailable as error:
                    logger.warning("the database is away: jobs may be done again: %s", error)

    async def _end_jobs(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=self._stop_seconds)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        faulthandler.cancel_dump_traceback_later()

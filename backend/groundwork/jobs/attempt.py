"""One attempt to do a job, and how it ends."""

import asyncio
import logging
import random
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from groundwork.data.database import Database, Executor, Transaction
from groundwork.errors import Unavailable
from groundwork.jobs import queue
from groundwork.jobs.handlers import Handler, Job
from groundwork.observe.current_request import CurrentRequest, current_request
from groundwork.observe.custom_metrics import histogram

logger = logging.getLogger("worker")

# The job that is being done. Every line that is logged during the job names it.
current_job: ContextVar[Job | None] = ContextVar("current_job", default=None)

_BUCKETS = (0.01, 0.1, 1, 10, 60, 600, 3600)
JOB_SECONDS = histogram(
    "job_run_seconds", "Time of an attempt to do a job.", labels=("job", "outcome"), buckets=_BUCKETS
)
# How many more attempts may end without a result, as when a worker is killed, before the job has failed for good.
_LOST_ATTEMPTS = 5
_ERROR_LENGTH = 1000


class _Lost(Exception):
    """Another worker has begun the job again, or somebody has removed it."""


async def attempt(handler: Handler, job: Job, database: Database) -> None:
    """Make one attempt to do a job, and record its result. If it is cancelled, the attempt does not count."""
    current_job.set(job)
    if job.request_id is not None:
        request = CurrentRequest(job.request_id)
        request.role = "worker"
        current_request.set(request)
    started = monotonic()
    outcome = "stopped"
    try:
        outcome = await _do(handler, job, database)
    except Unavailable:
        outcome = "unknown"
        logger.warning("the database cannot be reached to record the result: the job is done again", exc_info=True)
    finally:
        JOB_SECONDS.observe(monotonic() - started, job=job.name, outcome=outcome)
        milliseconds = round((monotonic() - started) * 1000, 1)
        logger.info("job %s", outcome, extra={"attempt": job.attempts, "duration_ms": milliseconds})


async def _do(handler: Handler, job: Job, database: Database) -> str:
    """Returns the outcome."""
    limit = asyncio.timeout(handler.timeout_seconds)
    try:
        async with limit:
            await _run(handler, job, database)
    except _Lost:
        logger.warning("the attempt does not count: another worker has begun the job again, or somebody removed it")
        return "lost"
    except asyncio.CancelledError:
        await _leave(database, job, begun=job.attempts - 1)
        raise
    except Exception as error:
        is_late = isinstance(error, TimeoutError) and limit.expired()
        reason = f"it took longer than {handler.timeout_seconds:g} s" if is_late else f"{type(error).__name__}: {error}"
        return await _note_failure(handler, job, database, reason, error)
    return "done"


async def _run(handler: Handler, job: Job, database: Database) -> None:
    async def work(statements: Transaction) -> None:
        # This comes first. If another worker has begun the job too, it waits here and then finds the job gone.
        await _finish(handler, job, statements)
        await handler.run(job, statements)

    if job.attempts > len(handler.retry_after) + 1 + _LOST_ATTEMPTS:
        raise RuntimeError("too many attempts ended without a result; the worker may have been killed each time")
    if handler.in_transaction:
        await database.run_in_transaction(work)
    else:
        await handler.run(job, database)
        await _finish(handler, job, database)


async def _finish(handler: Handler, job: Job, database: Executor) -> None:
    if not handler.schedule:
        found = await database.execute(queue.FINISH, job_id=job.id, since=job.running_since)
    else:
        # The job was due by the database's clock. This machine's clock may be behind it.
        due = handler.schedule.after(max(job.running_since, datetime.now(UTC)))
        found = await _leave(database, job, begun=0, due=due)
    if not found:
        raise _Lost


async def _note_failure(handler: Handler, job: Job, database: Database, reason: str, error: Exception) -> str:
    # PostgreSQL's text holds neither NUL nor lone surrogates.
    reason = reason[:_ERROR_LENGTH].replace("\0", "").encode(errors="replace").decode()
    if job.attempts <= len(handler.retry_after):
        # The pause is up to a fifth longer, so that jobs which failed together are not tried again together.
        pause = handler.retry_after[job.attempts - 1] * random.uniform(1, 1.2)  # noqa: S311 - no secret
        logger.warning("the job failed, and is tried again in %d s: %s", pause, reason, exc_info=error)
        await _leave(database, job, begun=job.attempts, pause=timedelta(seconds=pause), reason=reason)
        return "failed"
    logger.error("the job has failed for good: %s", reason, exc_info=error)
    await _leave(database, job, begun=job.attempts, reason=reason, failed=True)
    await schedule(database, job.name, handler)
    return "failed for good"


async def schedule(database: Executor, name: str, handler: Handler) -> None:
    """If the job has a schedule, write its row for the next time. A row that is due already stays as it is."""
    if handler.schedule:
        await database.execute(queue.SCHEDULE, job_name=name, due=handler.schedule.after(datetime.now(UTC)))


async def _leave(database: Executor, job: Job, **values: Any) -> int:
    values = {"due": None, "pause": timedelta(), "reason": None, "failed": False, **values}
    return await database.execute(queue.LEAVE, job_id=job.id, since=job.running_since, **values)

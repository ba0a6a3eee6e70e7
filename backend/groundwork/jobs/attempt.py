"""One attempt to do a job, and how it ends."""

import asyncio
import logging
import random
from contextvars import ContextVar
from datetime import UTC, datetime
from time import monotonic

from groundwork.data.database import Database, Executor, Transaction
from groundwork.errors import Unavailable
from groundwork.jobs import queue
from groundwork.jobs.handlers import Handler, Job
from groundwork.observe.current_request import CurrentRequest, current_request
from groundwork.observe.custom_metrics import histogram

logger = logging.getLogger("worker")

current_job: ContextVar[Job | None] = ContextVar("current_job", default=None)
"""The job that is being done. Every line that is logged meanwhile names it."""

JOB_SECONDS = histogram(
    "job_run_seconds",
    "Time of an attempt to do a job.",
    labels=("job", "outcome"),
    buckets=(0.01, 0.1, 1, 10, 60, 600, 3600),
)

_LOST_RUNS = 5
"""How many attempts may end without a report, as when a worker is killed, before the job has failed for good."""
_ERROR_LENGTH = 1000


class _Lost(Exception):
    """Another worker has taken the job over, or somebody has removed it."""


async def attempt(handler: Handler, job: Job, database: Database) -> None:
    """Do a job, and record how that ended.

    A job that is cancelled, because its worker ends, goes back into the queue as if it had not been begun.
    """
    current_job.set(job)
    if job.request_id is not None:
        request = CurrentRequest(job.request_id)
        request.role = "worker"
        current_request.set(request)
    started = monotonic()
    outcome = "stopped"
    try:
        outcome = await _outcome(handler, job, database)
    except Unavailable:
        outcome = "unknown"
        logger.warning("the database is away: the job will be done again", exc_info=True)
    finally:
        duration = monotonic() - started
        JOB_SECONDS.observe(duration, job=job.name, outcome=outcome)
        logger.info("job %s", outcome, extra={"attempt": job.attempts, "duration_ms": round(duration * 1000, 1)})


async def _outcome(handler: Handler, job: Job, database: Database) -> str:
    try:
        if job.attempts > len(handler.retry_after) + 1 + _LOST_RUNS:
            raise RuntimeError("its worker ended without a report each time")
        async with asyncio.timeout(handler.timeout_seconds) as limit:
            await _do(handler, job, database)
    except _Lost:
        logger.warning("another worker has taken the job over, or somebody has removed it")
        return "lost"
    except asyncio.CancelledError:
        await database.execute(queue.PUT_BACK, **_this(job), pause=queue.seconds(0), begun=job.attempts - 1, reason=None)
        raise
    except Exception as error:
        took_too_long = isinstance(error, TimeoutError) and limit.expired()
        reason = f"it took longer than {handler.timeout_seconds:g} s" if took_too_long else _reason(error)
        return await _record_failure(handler, job, database, reason, error)
    return "done"


async def _do(handler: Handler, job: Job, database: Database) -> None:
    async def work(statements: Transaction) -> None:
        # Before the function: another worker that has the job too waits here, and then finds it gone.
        await _finish(handler, job, statements)
        await handler.run(job, statements)

    if handler.in_transaction:
        await database.run_in_transaction(work)
    else:
        await handler.run(job, database)
        await _finish(handler, job, database)


async def _finish(handler: Handler, job: Job, database: Executor) -> None:
    if handler.schedule is None:
        found = await database.execute(queue.FINISH, **_this(job))
    else:
        # The database's clock said that the job was due. This one may be behind it.
        due = handler.schedule.after(max(job.running_since, datetime.now(UTC)))
        found = await database.execute(queue.FINISH_SCHEDULED, **_this(job), due=due)
    if not found:
        raise _Lost


async def _record_failure(handler: Handler, job: Job, database: Database, reason: str, error: Exception) -> str:
    """Leave the job for another attempt, or end it. Returns the outcome."""
    if job.attempts <= len(handler.retry_after):
        # A little more, so that jobs which failed together are not tried again together.
        pause = handler.retry_after[job.attempts - 1] * random.uniform(1, 1.2)  # noqa: S311 - no secret
        logger.warning("the job failed, and is tried again in %d s: %s", pause, reason, exc_info=error)
        values = {"pause": queue.seconds(pause), "begun": job.attempts, "reason": reason}
        await database.execute(queue.PUT_BACK, **_this(job), **values)
        return "failed"
    logger.error("the job has failed for good: %s", reason, exc_info=error)
    await database.execute(queue.FAIL, **_this(job), reason=reason)
    if handler.schedule:
        await schedule(database, job.name, handler)
    return "failed for good"


async def schedule(database: Executor, name: str, handler: Handler) -> None:
    """Make the row of a job with a schedule, if there is none."""
    if handler.schedule:
        await database.execute(queue.SCHEDULE, job_name=name, due=handler.schedule.after(datetime.now(UTC)))


def _this(job: Job) -> dict[str, object]:
    return {"job_id": job.id, "since": job.running_since}


def _reason(error: Exception) -> str:
    """The error in a line. PostgreSQL's text holds neither NUL nor lone surrogates."""
    text = f"{type(error).__name__}: {error}"[:_ERROR_LENGTH]
    return text.replace("\0", "").encode(errors="replace").decode()

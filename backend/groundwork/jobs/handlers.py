"""The functions that do the jobs, by the jobs' names."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from groundwork.jobs.records import NAME_LENGTH
from groundwork.jobs.schedule import Schedule, parse_schedule

RETRY_AFTER = (5, 60, 600, 3600)
"""The pauses in seconds before the second attempt, the third, and so on, of a job that says nothing else."""


class Job(BaseModel):
    """A job as its function gets it."""

    id: int
    name: str
    user_id: str | None
    """The user for whom it is done, for `owner=`."""
    key: str | None
    payload: dict[str, Any]
    request_id: str | None
    attempts: int
    """1 at the first attempt."""
    running_since: datetime
    created_at: datetime


Run = Callable[[Job, Any], Awaitable[None]]
AnyRun = TypeVar("AnyRun", bound=Run)


class Handler(NamedTuple):
    """A function with what the worker has to know of it."""

    run: Run
    retry_after: Sequence[float]
    timeout_seconds: float
    in_transaction: bool
    schedule: Schedule | None


class Jobs:
    """The jobs that a worker does. `app/jobs.py` makes one, named `jobs`.

    Args:
        concurrency: how many jobs a worker does at once. It has one connection to the database more than that.
    """

    def __init__(self, *, concurrency: int = 5) -> None:
        self.concurrency = concurrency
        self.handlers: dict[str, Handler] = {}

    def job(
        self,
        name: str,
        *,
        retry_after: Sequence[float] = RETRY_AFTER,
        timeout_seconds: float = 60,
        in_transaction: bool = False,
        every: str | None = None,
    ) -> Callable[[AnyRun], AnyRun]:
        """Declare that a function does the jobs of this name. It is called with the job and the database.

        Args:
            retry_after: the pauses in seconds after the first failed attempt, the second, and so on. When one more
                fails, the job has failed for good.
            timeout_seconds: a longer attempt is cancelled, and has failed.
            in_transaction: the function gets a transaction instead of the database. What it writes there and the end
                of the job take effect together, so exactly once.
            every: when the job is due by itself: see `parse_schedule`.

        Raises:
            ValueError: the name is too long, or taken, or the schedule cannot be read.
        """
        if name in self.handlers or not 0 < len(name) <= NAME_LENGTH:
            raise ValueError(f"{name!r}: a job has a name of its own, of 1 to {NAME_LENGTH} characters")
        schedule = parse_schedule(every) if every else None

        def declare(run: AnyRun) -> AnyRun:
            self.handlers[name] = Handler(run, retry_after, timeout_seconds, in_transaction, schedule)
            return run

        return declare

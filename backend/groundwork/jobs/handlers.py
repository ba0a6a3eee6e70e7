"""The functions that do the jobs, by the jobs' names."""

import math
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from inspect import iscoroutinefunction, isfunction, unwrap
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

# The default pauses in seconds after the first failed attempt, the second, and so on.
RETRY_AFTER = (5, 60, 600, 3600)
NAME_LENGTH = 100

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SCHEDULE = re.compile(rf"every (day|{'|'.join(_DAYS)}) at ([01]\d|2[0-3]):([0-5]\d) UTC").fullmatch


class Job(BaseModel):
    """A job as its function gets it. `user_id` is the owner, for `owner=`. `attempts` is 1 in the first attempt."""

    id: int
    user_id: str | None
    name: str
    key: str | None
    payload: dict[str, Any]
    request_id: str | None
    attempts: int
    running_since: datetime
    created_at: datetime


Run = Callable[[Job, Any], Awaitable[None]]
AnyRun = TypeVar("AnyRun", bound=Run)


class Schedule(NamedTuple):
    """Moments at a fixed interval, without an end."""

    first: datetime
    every: timedelta

    def after(self, moment: datetime) -> datetime:
        """The first of the moments that is later than this one."""
        return self.first + ((moment - self.first) // self.every + 1) * self.every


class Handler(NamedTuple):
    """A function that does jobs, and its options."""

    run: Run
    retry_after: Sequence[float]
    timeout_seconds: float
    in_transaction: bool
    schedule: Schedule | None


class Jobs:
    """The jobs that a worker does. `app/jobs.py` makes one, named `jobs`.

    Args:
        concurrency: how many jobs a worker does at once. The worker has two more connections to the database than that.

    Raises:
        ValueError: the worker would do no jobs.
    """

    def __init__(self, *, concurrency: int = 5) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}: give 1 or more")
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
            retry_after: the pauses in seconds after the first failed attempt, the second, and so on. If the attempt
                after the last pause fails too, the job has failed for good.
            timeout_seconds: the time limit of an attempt. A longer one is cancelled, and counts as failed.
            in_transaction: the function gets a transaction instead of the database. What it writes there and the end
                of the job take effect together, so exactly once.
            every: the schedule of a job that repeats: `every day at 03:00 UTC` or `every monday at 03:00 UTC`.

        Raises:
            TypeError: the name is missing, or the function is not `async`.
            ValueError: the name is taken or too long, or a time is no time, or `every` cannot be read.
        """
        if callable(name):
            raise TypeError(f'the job has no name: write @jobs.job("{getattr(name, "__name__", "name")}")')
        if len(name) > NAME_LENGTH:
            raise ValueError(f"the name of the job {name} must have at most {NAME_LENGTH} characters")
        if not 0 < timeout_seconds < math.inf:
            raise ValueError(f"{name}: timeout_seconds is {timeout_seconds}: give more than 0")
        if not (isinstance(retry_after, Sequence) and all(map(_is_pause, retry_after))):
            raise ValueError(f"{name}: retry_after is {retry_after!r}: write a tuple of seconds, as in (5, 60)")
        if name in self.handlers:
            raise ValueError(f"there is already a job {name}: choose another name")
        schedule = None if every is None else parse_schedule(every)

        def declare(run: AnyRun) -> AnyRun:
            function = unwrap(run)
            if isfunction(function) and not iscoroutinefunction(function):
                raise TypeError(f"{name}: the worker awaits the function of a job: write async def {function.__name__}")
            self.handlers[name] = Handler(run, retry_after, timeout_seconds, in_transaction, schedule)
            return run

        return declare


def _is_pause(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf


def parse_schedule(line: str) -> Schedule:
    """The schedule that `every` of a job describes.

    Raises:
        ValueError: it has neither of the two forms.
    """
    found = _SCHEDULE(str(line))
    if not found:
        raise ValueError(f"{line!r}: write `every day at 03:00 UTC` or `every monday at 03:00 UTC`")
    day, hour, minute = found.groups()
    # January 1, 2024 was a Monday.
    first = datetime(2024, 1, 1 + (_DAYS.index(day) if day in _DAYS else 0), int(hour), int(minute), tzinfo=UTC)
    return Schedule(first, timedelta(days=7 if day in _DAYS else 1))

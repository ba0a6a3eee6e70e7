"""The worker's statements. An attempt is known by the job's id and the moment at which it began.

A worker that lost its job to another one, because it did not report for too long, so changes nothing any more.
"""

from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel
from sqlalchemy import ColumnElement, Interval, Text, and_, bindparam, cast, delete, exists, extract, func, or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from groundwork.data.rows import LIMIT
from groundwork.data.statement import Statement
from groundwork.jobs.handlers import Job
from groundwork.jobs.records import JobRecord

EVERYBODY = "The worker does everybody's jobs."


class QueueState(BaseModel):
    """What is in the queue. A job of a name that no worker knows counts as waiting."""

    waiting: int
    running: int
    failed: int
    due_since: datetime | None
    """Since when the oldest job that is due waits."""


class NextJob(BaseModel):
    """When there is something to do for a worker."""

    seconds: float | None


_ID, _SINCE = bindparam("job_id"), bindparam("since")
_ATTEMPT = and_(col(JobRecord.id) == _ID, col(JobRecord.running_since) == _SINCE)
_LEASE = func.now() + bindparam("lease", type_=Interval)
_earlier = aliased(JobRecord)
_OPEN: ColumnElement[bool] = col(JobRecord.failed_at).is_(None)
_DUE = col(JobRecord.run_at) <= func.now()
_FIRST_OF_KEY = or_(
    col(JobRecord.key).is_(None),
    ~exists().where(
        col(_earlier.key) == col(JobRecord.key),
        col(_earlier.id) < col(JobRecord.id),
        col(_earlier.failed_at).is_(None),
    ),
)
_KNOWN = and_(_OPEN, col(JobRecord.name).in_(bindparam("names")), _FIRST_OF_KEY)
_chosen = (
    select(col(JobRecord.id))
    .where(_KNOWN, _DUE)
    .order_by(col(JobRecord.run_at), col(JobRecord.id))
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
    .cte("chosen")
)

CLAIM = Statement(
    update(JobRecord)
    .where(col(JobRecord.id) == _chosen.c.id)
    .values(attempts=col(JobRecord.attempts) + 1, running_since=func.clock_timestamp(), run_at=_LEASE)
    .returning(*(JobRecord.__table__.c[name] for name in Job.model_fields)),  # type: ignore[attr-defined]
    returns=Job,
    everybody=EVERYBODY,
)
"""Begins attempts at up to `limit` due jobs of these `names`, of each key at the first alone."""

NEXT = Statement(
    select(cast(extract("epoch", func.min(col(JobRecord.run_at)) - func.now()), Text).label("seconds")).where(_KNOWN),
    returns=NextJob,
    everybody=EVERYBODY,
)
"""In how many seconds a job of these `names` is due. None if there is none."""

RENEW: Statement[Any] = Statement(
    update(JobRecord)
    .where(col(JobRecord.id).in_(bindparam("job_ids")), col(JobRecord.running_since).in_(bindparam("sinces")))
    .values(run_at=_LEASE),
    everybody=EVERYBODY,
)
"""Says that attempts go on."""

FINISH: Statement[Any] = Statement(delete(JobRecord).where(_ATTEMPT), everybody=EVERYBODY)
"""Removes a job that is done."""

FINISH_SCHEDULED: Statement[Any] = Statement(
    update(JobRecord)
    .where(_ATTEMPT)
    .values(run_at=bindparam("due"), attempts=0, running_since=None, error=None),
    everybody=EVERYBODY,
)
"""The same for a job with a schedule: its row stays, and is due at the next time."""

PUT_BACK: Statement[Any] = Statement(
    update(JobRecord)
    .where(_ATTEMPT)
    .values(
        run_at=func.now() + bindparam("pause", type_=Interval),
        attempts=bindparam("begun"),
        running_since=None,
        error=bindparam("reason"),
    ),
    everybody=EVERYBODY,
)
"""Leaves a job for another attempt after a pause."""

FAIL: Statement[Any] = Statement(
    update(JobRecord)
    .where(_ATTEMPT)
    .values(failed_at=func.now(), running_since=None, schedule=None, error=bindparam("reason")),
    everybody=EVERYBODY,
)
"""Ends a job that has failed for good."""

_SCHEDULED = insert(JobRecord).values(
    name=bindparam("job_name"), schedule=bindparam("job_name"), payload={}, run_at=bindparam("due")
)
SCHEDULE: Statement[Any] = Statement(
    _SCHEDULED.on_conflict_do_update(
        index_elements=["schedule"],
        set_={"run_at": _SCHEDULED.excluded.run_at},
        where=and_(col(JobRecord.attempts) == 0, col(JobRecord.run_at) > func.now()),
    ),
    everybody=EVERYBODY,
)
"""Makes the row of a job with a schedule, or gives it another time. A time that has come is left as it is."""

_waiting = and_(_OPEN, col(JobRecord.running_since).is_(None))
STATE = Statement(
    select(
        func.count().filter(_waiting).label("waiting"),
        func.count().filter(_OPEN, col(JobRecord.running_since).is_not(None)).label("running"),
        func.count().filter(~_OPEN).label("failed"),
        func.min(col(JobRecord.run_at)).filter(_waiting, _DUE).label("due_since"),
    ),
    returns=QueueState,
    everybody=EVERYBODY,
)


def seconds(value: float) -> timedelta:
    """An interval for `lease` and `pause`."""
    return timedelta(seconds=value)

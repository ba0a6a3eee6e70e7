"""The worker's statements on the queue.

A statement names an attempt by the job's id and the moment at which the attempt began. When an attempt's time is over,
another worker may begin the job again. The statements of the first attempt then change nothing any more.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy import and_, bindparam, case, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased
from sqlmodel import col

from groundwork.data.rows import LIMIT
from groundwork.data.statement import Statement
from groundwork.jobs.handlers import Job
from groundwork.jobs.records import JobRecord


class QueueState(BaseModel):
    """What is in the queue. `seconds` is the time until the next job is due that this worker may begin."""

    waiting: int = 0
    running: int = 0
    failed: int = 0
    due_since: datetime | None = None
    seconds: float | None = None


def _for_everybody(statement: Any, returns: Any = None) -> Statement[Any]:
    return Statement(statement, returns, everybody="The worker does everybody's jobs.")


_record = JobRecord.__table__.c  # type: ignore[attr-defined]
_earlier = aliased(JobRecord)
_is_open = _record.failed_at.is_(None)
_is_waiting = and_(_is_open, _record.running_since.is_(None))
_is_due = _record.run_at <= func.now()
# NOT EXISTS would be a join in PostgreSQL, which takes a second when 10,000 jobs wait behind one that fails.
_first = select(col(_earlier.id)).where(col(_earlier.key) == _record.key, col(_earlier.failed_at).is_(None))
_first_id = _first.order_by(col(_earlier.id)).limit(1).correlate(JobRecord).scalar_subquery()
_is_first_of_key = sa.or_(_record.key.is_(None), _record.id == _first_id)
# The names of the jobs that this worker can do, and how long an attempt of each may take.
_known: Any = func.unnest(bindparam("names", type_=sa.ARRAY(sa.Text)), bindparam("leases", type_=sa.ARRAY(sa.Interval)))
_known = _known.table_valued("name", "lease").render_derived()
_mine = and_(_is_open, _record.name == _known.c.name, _is_first_of_key)
_chosen: Any = (
    select(_record.id, _known.c.lease).where(_mine, _is_due).order_by(_record.run_at, _record.id).limit(LIMIT)
)
_chosen = _chosen.with_for_update(of=JobRecord, skip_locked=True).cte("chosen")
_this_attempt = and_(_record.id == bindparam("job_id"), _record.running_since == bindparam("since"))
_has_failed = bindparam("failed", type_=sa.Boolean)

# Begins attempts. Of the jobs with the same key, only the first can be begun.
CLAIM = _for_everybody(
    update(JobRecord)
    .where(_record.id == _chosen.c.id)
    .values(attempts=_record.attempts + 1, running_since=func.clock_timestamp(), run_at=func.now() + _chosen.c.lease)
    .returning(*(_record[name] for name in Job.model_fields)),
    Job,
)
FINISH = _for_everybody(sa.delete(JobRecord).where(_this_attempt))
# Ends an attempt, and keeps the job: for another attempt, for the next time of its schedule, or as failed for good.
LEAVE = _for_everybody(
    update(JobRecord)
    .where(_this_attempt)
    .values(
        run_at=func.coalesce(
            bindparam("due", type_=sa.DateTime(timezone=True)), func.now() + bindparam("pause", type_=sa.Interval)
        ),
        attempts=bindparam("begun"),
        error=bindparam("reason"),
        running_since=None,
        failed_at=case((_has_failed, func.now())),
        schedule=case((_has_failed, sa.null()), else_=_record.schedule),
    )
)
# Makes the row of a job with a schedule, or changes its time. A job that is already due keeps its time.
_row: dict[str, Any] = {"name": bindparam("job_name"), "schedule": bindparam("job_name"), "run_at": bindparam("due")}
_scheduled = insert(JobRecord).values(payload={}, **_row)
SCHEDULE = _for_everybody(
    _scheduled.on_conflict_do_update(
        index_elements=["schedule"],
        set_={"run_at": _scheduled.excluded.run_at},
        where=and_(_record.attempts == 0, _record.run_at > func.now()),
    )
)
_seconds = select(sa.extract("epoch", _record.run_at - func.now()).cast(sa.Float)).where(_mine)
STATE = _for_everybody(
    select(
        func.count().filter(_is_waiting).label("waiting"),
        func.count().filter(_is_open, _record.running_since.is_not(None)).label("running"),
        func.count().filter(~_is_open).label("failed"),
        func.min(_record.run_at).filter(_is_waiting, _is_due).label("due_since"),
        _seconds.order_by(_record.run_at).limit(1).correlate(None).scalar_subquery().label("seconds"),
    ),
    QueueState,
)

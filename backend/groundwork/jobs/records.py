"""The table of the jobs, and how a service adds one: in the statement or in the transaction of the change.

A service that uses jobs imports `JobRecord` in `app/models/__init__.py`, so that its migrations make the table.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import CTE, BigInteger, DateTime, Identity, Index, bindparam, func, insert, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.dml import ReturningInsert
from sqlmodel import Field, SQLModel

from groundwork.data.database import Executor
from groundwork.data.ownership import OWNER_ID
from groundwork.data.statement import Statement
from groundwork.data.tables import key_text, timestamp
from groundwork.jobs.handlers import NAME_LENGTH
from groundwork.observe.current_request import current_request
from groundwork.text import USER_ID_LENGTH

CHANNEL = "jobs"
_MOMENT: Any = DateTime(timezone=True)
_OPEN = "failed_at IS NULL"


class JobRecord(SQLModel, table=True):
    """A job that is not done yet, or that has failed for good. A job that is done has no row."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("jobs_open_idx", "run_at", "id", postgresql_where=text(_OPEN)),
        Index("jobs_open_key_idx", "key", "id", postgresql_where=text(f"{_OPEN} AND key IS NOT NULL")),
    )

    # A sequence, because the clocks of two processes may disagree about the order.
    id: int = Field(sa_type=BigInteger, primary_key=True, sa_column_args=[Identity(always=True)])
    # The user who owns the job. None means the service itself.
    user_id: str | None = Field(default=None, max_length=USER_ID_LENGTH)
    name: str = Field(max_length=NAME_LENGTH)
    # Jobs of one key are done one after the other, in the order of their ids.
    key: str | None = key_text(255, default=None)
    # The same as the name if the job has a schedule, else None. It is unique, so such a job has one row.
    schedule: str | None = key_text(NAME_LENGTH, default=None, unique=True)
    payload: dict[str, Any] = Field(sa_type=JSONB)
    request_id: str | None = None
    # How many attempts have begun.
    attempts: int = Field(sa_column_kwargs={"server_default": text("0")})
    # When it is due. While it runs: when another worker may begin it again.
    run_at: datetime = timestamp()
    running_since: datetime | None = Field(default=None, sa_type=_MOMENT)
    # When the job failed for good. From then on, only a command changes it.
    failed_at: datetime | None = Field(default=None, sa_type=_MOMENT)
    error: str | None = None
    created_at: datetime = timestamp()


def with_job(name: str) -> CTE:
    """A part of a statement, for its `add_cte`: the statement's change and the job are written together, or neither is.

    The statement then also takes the values of `job_values()`. The job belongs to the user in the parameter `owner`. It
    is added even if the statement is an update that finds no row. If that can happen, use `enqueue()` in a transaction.

    Args:
        name: the job's name, as the worker knows it.
    """
    return _insert(name, OWNER_ID).cte(f"job_{name}")


def job_values(payload: Mapping[str, Any], *, key: str | None = None, run_at: datetime | None = None) -> dict[str, Any]:
    """The values of a statement that has `with_job()`.

    Args:
        payload: the job's data, as JSON. Give only ids. The job reads everything else when it runs.
        key: jobs with the same key are done one after the other, in the order of their ids.
        run_at: when the job is due; None for at once.
    """
    request = current_request.get()
    request_id = request.id if request else None
    return {"job_payload": dict(payload), "job_key": key, "job_run_at": run_at, "job_request_id": request_id}


async def enqueue(
    database: Executor, name: str, payload: Mapping[str, Any], *, owner: str | None, **options: Any
) -> None:
    """Add a job in a statement of its own. If `database` is a transaction, the job is added in it.

    Args:
        owner: the id of the user who owns the job. None for the service itself: a request may add such a job only where
            its route asks for a role.
        name: as for `with_job()`.
        payload, options: as for `job_values()`.
    """
    values = job_values(payload, **options)
    if owner is None:
        await database.execute(_ADD_UNOWNED, job_name=name, **values)
    else:
        await database.execute(_ADD, job_name=name, owner=owner, **values)


def _insert(name: Any, user_id: Any) -> ReturningInsert[Any]:
    values: dict[str, Any] = {each: bindparam(f"job_{each}") for each in ("key", "payload", "request_id")}
    run_at = func.coalesce(bindparam("job_run_at", type_=_MOMENT), func.now())
    added = insert(JobRecord).values(name=name, user_id=user_id, run_at=run_at, **values)
    return added.returning(func.pg_notify(CHANNEL, ""))


_ADD: Statement[Any] = Statement(_insert(bindparam("job_name"), OWNER_ID))
_ADD_UNOWNED: Statement[Any] = Statement(
    _insert(bindparam("job_name"), None), everybody="A job of the service itself is nobody's."
)

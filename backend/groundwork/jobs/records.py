"""The table of the jobs, and how a service adds one: in the statement or in the transaction of the change.

A service that uses jobs imports `JobRecord` in `app/models/__init__.py`, so that its migrations make the table.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import CTE, BigInteger, DateTime, Identity, Index, String, bindparam, func, insert, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from groundwork.data.database import Executor
from groundwork.data.known_functions import harmless
from groundwork.data.ownership import OWNER_ID
from groundwork.data.statement import Statement
from groundwork.data.tables import timestamp
from groundwork.observe.current_request import current_request
from groundwork.text import USER_ID_LENGTH

CHANNEL = "jobs"
"""The channel of NOTIFY that tells the workers of a new job."""

NAME_LENGTH = 100
KEY_LENGTH = 255
"""How many characters the name and the key of a job have at most."""

_OPEN = text("failed_at IS NULL")
_OPEN_WITH_KEY = text("failed_at IS NULL AND key IS NOT NULL")

harmless("pg_notify", reason="It wakes who listens and reads no row.")


class JobRecord(SQLModel, table=True):
    """A job that is not done yet, or that has failed for good. A job that is done has no row."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("jobs_open_idx", "run_at", "id", postgresql_where=_OPEN),
        Index("jobs_open_key_idx", "key", "id", postgresql_where=_OPEN_WITH_KEY),
    )

    id: int = Field(sa_type=BigInteger, primary_key=True, sa_column_args=[Identity(always=True)])
    user_id: str | None = Field(default=None, max_length=USER_ID_LENGTH)
    """The user for whom the job is done; None for a job of the service itself."""
    name: str = Field(max_length=NAME_LENGTH)
    key: str | None = Field(default=None, max_length=KEY_LENGTH)
    """Jobs of one key are done one after the other, in the order of their ids."""
    schedule: str | None = Field(default=None, max_length=NAME_LENGTH, unique=True)
    """The name of the job whose schedule made this row. It is unique, so several workers make one row."""
    payload: dict[str, Any] = Field(sa_type=JSONB)
    request_id: str | None = None
    """The id of the request that added the job."""
    attempts: int = Field(sa_column_kwargs={"server_default": text("0")})
    """How often it has been begun."""
    run_at: datetime = timestamp()
    """When it is due. While it runs, when another worker may take it over."""
    running_since: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))  # type: ignore[call-overload]
    failed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))  # type: ignore[call-overload]
    """When its last attempt failed. Then only a command touches it."""
    error: str | None = None
    """What the last attempt raised."""
    created_at: datetime = timestamp()


def with_job(name: str) -> CTE:
    """A part of a statement, for its `add_cte`: the statement's change and the job are written together, or neither is.

    The values of the statement need those of `job_values()` besides. The job is for the parameter `owner`. It is added
    even if an update finds no row: use `enqueue()` in a transaction where that may be.

    Args:
        name: the job's name, as the worker knows it.
    """
    return _insert(name, OWNER_ID).returning(_NOTIFY).cte(f"job_{name}")


def job_values(
    payload: Mapping[str, Any], *, key: str | None = None, run_at: datetime | None = None
) -> dict[str, Any]:
    """The values of a statement that has `with_job()`.

    Args:
        payload: what the job gets to know, as JSON. Ids only: the job reads the rest as it is by then.
        key: jobs of one key are done one after the other, in their order.
        run_at: when the job is due; None for at once.
    """
    request = current_request.get()
    return {
        "job_payload": dict(payload),
        "job_key": key,
        "job_run_at": run_at,
        "job_request_id": request.id if request else None,
    }


async def enqueue(
    database: Executor,
    name: str,
    payload: Mapping[str, Any],
    *,
    owner: str | None,
    key: str | None = None,
    run_at: datetime | None = None,
) -> None:
    """Add a job in a statement of its own: in the transaction of the change, where `database` is one.

    Args:
        owner: the id of the user for whom the job is done. None for a job of the service itself: a request may add
            such a job only where its route asks for a role.
        name, payload, key, run_at: as for `with_job()` and `job_values()`.
    """
    values = job_values(payload, key=key, run_at=run_at)
    if owner is None:
        await database.execute(_ADD_UNOWNED, job_name=name, **values)
    else:
        await database.execute(_ADD, job_name=name, owner=owner, **values)


_NOTIFY = func.pg_notify(CHANNEL, "")


def _insert(name: Any, user_id: Any) -> Any:
    run_at = func.coalesce(bindparam("job_run_at", type_=DateTime(timezone=True)), func.now())
    return insert(JobRecord).values(
        name=name,
        user_id=user_id,
        payload=bindparam("job_payload"),
        key=bindparam("job_key"),
        run_at=run_at,
        request_id=bindparam("job_request_id"),
    )


_NAME = bindparam("job_name", type_=String(NAME_LENGTH))
_ADD: Statement[Any] = Statement(_insert(_NAME, OWNER_ID).returning(_NOTIFY))
_ADD_UNOWNED: Statement[Any] = Statement(
    _insert(_NAME, None).returning(_NOTIFY), everybody="A job of the service itself is nobody's."
)

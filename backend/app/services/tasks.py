"""What can be done with tasks. Each operation is one statement: it either happens whole or not at all."""

from functools import cache
from typing import Any, NoReturn
from uuid import UUID

from sqlalchemy import Boolean, Integer, bindparam, delete, insert, or_, update
from sqlmodel import col, select

from app.core import ids
from app.core.database import Executor
from app.core.errors import Changed, NotFound
from app.core.ownership import OWNER, owned
from app.core.statement import Statement
from app.core.versions import ALWAYS, Condition, VersionedStatement, later
from app.models.task import Task
from app.schemas.task import TaskCreate, TaskRead, TaskUpdate

_THIS = (owned(Task), col(Task.id) == bindparam("task_id"))
_COMPLETED = bindparam("completed", type_=Boolean)

_LIST = Statement(
    select(Task)
    .where(owned(Task), col(Task.id) < bindparam("before"))
    .where(or_(_COMPLETED.is_(None), col(Task.completed) == _COMPLETED))
    .order_by(col(Task.id).desc())
    .limit(bindparam("limit", type_=Integer)),
    returns=TaskRead,
)
_CREATE = Statement(
    insert(Task)
    .values(
        user_id=OWNER,
        id=bindparam("id"),
        title=bindparam("title"),
        description=bindparam("description"),
        completed=bindparam("completed"),
        created_at=bindparam("created_at"),
        updated_at=bindparam("created_at"),
    )
    .returning(Task),
    returns=TaskRead,
)
_GET = Statement(select(Task).where(*_THIS), returns=TaskRead)
_DELETE: VersionedStatement[Any] = VersionedStatement(delete(Task).where(*_THIS), Task)
_TOGGLE = VersionedStatement(
    update(Task).where(*_THIS).values(completed=~col(Task.completed), updated_at=later(Task)).returning(Task),
    Task,
    returns=TaskRead,
)


@cache
def _update(fields: frozenset[str]) -> VersionedStatement[TaskRead]:
    """The statement that writes just these columns."""
    values: dict[str, Any] = {field: bindparam(field) for field in fields}
    return VersionedStatement(
        update(Task).where(*_THIS).values(**values, updated_at=later(Task)).returning(Task), Task, returns=TaskRead
    )


async def list_tasks(
    database: Executor, user_id: str, *, limit: int, before: UUID | None = None, completed: bool | None = None
) -> list[TaskRead]:
    """At most `limit` of the user's tasks, the newest first, from those older than the task `before`."""
    return await database.all(_LIST, owner=user_id, before=before or ids.LARGEST, completed=completed, limit=limit)


async def create_task(database: Executor, user_id: str, task: TaskCreate) -> TaskRead:
    task_id = ids.uuid7()
    created = await database.one(
        _CREATE, owner=user_id, id=task_id, created_at=ids.created_at(task_id), **task.model_dump()
    )
    return _found(created)


async def get_task(database: Executor, user_id: str, task_id: UUID) -> TaskRead:
    """
    Raises:
        NotFound: the user has no such task.
    """
    return _found(await database.one(_GET, owner=user_id, task_id=task_id))


async def update_task(
    database: Executor, user_id: str, task_id: UUID, task: TaskUpdate, condition: Condition = ALWAYS
) -> TaskRead:
    """Change the fields that were given; when none was, the task stays as it is.

    Raises:
        NotFound: the user has no such task.
        Changed: the condition does not hold.
    """
    changes = task.changes()
    if not changes:
        unchanged = await get_task(database, user_id, task_id)
        condition.require(unchanged)
        return unchanged
    statement = _update(frozenset(changes)).under(condition)
    updated = await database.one(statement, owner=user_id, task_id=task_id, **changes, **condition.values())
    return updated or await _explain(database, user_id, task_id, condition)


async def toggle_task(database: Executor, user_id: str, task_id: UUID, condition: Condition = ALWAYS) -> TaskRead:
    """Flip `completed`; two at once flip it twice.

    Raises:
        NotFound: the user has no such task.
        Changed: the condition does not hold.
    """
    toggled = await database.one(_TOGGLE.under(condition), owner=user_id, task_id=task_id, **condition.values())
    return toggled or await _explain(database, user_id, task_id, condition)


async def delete_task(database: Executor, user_id: str, task_id: UUID, condition: Condition = ALWAYS) -> None:
    """
    Raises:
        NotFound: the user has no such task.
        Changed: the condition does not hold.
    """
    if not await database.execute(_DELETE.under(condition), owner=user_id, task_id=task_id, **condition.values()):
        await _explain(database, user_id, task_id, condition)


def _found(task: TaskRead | None) -> TaskRead:
    if task is None:
        raise NotFound("Task not found.")
    return task


async def _explain(database: Executor, user_id: str, task_id: UUID, condition: Condition) -> NoReturn:
    """Say why a statement under the condition wrote nothing."""
    if condition is not ALWAYS:
        await get_task(database, user_id, task_id)
        raise Changed
    raise NotFound("Task not found.")

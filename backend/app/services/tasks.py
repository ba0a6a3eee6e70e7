"""What can be done with tasks.

Each change is one statement, so it happens whole or not at all. Each statement is compiled once, when this module is
imported. If a statement could reach another user's rows, it is refused then, and the program does not start.
"""

from uuid import UUID

from sqlalchemy import delete, insert, update
from sqlmodel import col, select

from app.models.task import Task
from app.schemas.task import TaskCreate, TaskRead, TaskUpdate
from groundwork import ids
from groundwork.data.database import Executor
from groundwork.data.ownership import owned
from groundwork.data.rows import LIMIT, before_cursor, insert_values, optional_equals, owned_row, require_found
from groundwork.data.statement import Statement
from groundwork.data.versions import ALWAYS, Condition, PartialUpdate, VersionedStatement, later

_LIST = Statement(
    select(Task)
    .where(owned(Task), before_cursor(Task), optional_equals(Task.completed))
    .order_by(col(Task.id).desc())
    .limit(LIMIT),
    returns=TaskRead,
)
_CREATE = Statement(insert(Task).values(insert_values(Task)).returning(Task), returns=TaskRead)
_GET = Statement(select(Task).where(owned_row(Task)), returns=TaskRead)
_UPDATE = PartialUpdate(update(Task).where(owned_row(Task)), Task, _GET, returns=TaskRead)
_DELETE = VersionedStatement(delete(Task).where(owned_row(Task)), Task, _GET)
_TOGGLE = VersionedStatement(
    update(Task).where(owned_row(Task)).values(completed=~col(Task.completed), updated_at=later(Task)).returning(Task),
    Task,
    _GET,
    returns=TaskRead,
)


async def list_tasks(
    database: Executor, user_id: str, *, limit: int, before: UUID | None = None, completed: bool | None = None
) -> list[TaskRead]:
    """The user's tasks, newest first.

    Args:
        limit: the largest number of tasks.
        before: the id of a task. Only older tasks are listed.
        completed: whether only completed or only other tasks are listed; None lists both.
    """
    return await database.all(_LIST, owner=user_id, before=before or ids.LARGEST, completed=completed, limit=limit)


async def create_task(database: Executor, user_id: str, task: TaskCreate) -> TaskRead:
    """Create a task with a new id."""
    return require_found(await database.one(_CREATE, owner=user_id, **ids.new_row(), **vars(task)), Task)


async def get_task(database: Executor, user_id: str, task_id: UUID) -> TaskRead:
    """One task.

    Raises:
        NotFound: the user has no such task.
    """
    return require_found(await database.one(_GET, owner=user_id, id=task_id), Task)


async def update_task(
    database: Executor, user_id: str, task_id: UUID, task: TaskUpdate, condition: Condition = ALWAYS
) -> TaskRead:
    """Change the given fields. If there are none, the task stays as it is.

    Raises:
        NotFound: the user has no such task.
        PreconditionFailed: the condition does not hold.
    """
    return await _UPDATE.one(database, condition, task.fields_set(), owner=user_id, id=task_id)


async def toggle_task(database: Executor, user_id: str, task_id: UUID, condition: Condition = ALWAYS) -> TaskRead:
    """Flip `completed`. Two calls at once flip it twice.

    Raises:
        NotFound: the user has no such task.
        PreconditionFailed: the condition does not hold.
    """
    return await _TOGGLE.one(database, condition, owner=user_id, id=task_id)


async def delete_task(database: Executor, user_id: str, task_id: UUID, condition: Condition = ALWAYS) -> None:
    """Remove a task for good.

    Raises:
        NotFound: the user has no such task.
        PreconditionFailed: the condition does not hold.
    """
    await _DELETE.execute(database, condition, owner=user_id, id=task_id)

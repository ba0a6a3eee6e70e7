"""Tasks over HTTP. Each route calls one function of the service and returns its result."""

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import Path, Query, Request, Response, status

from app.core.database import Database
from app.schemas.task import TaskCreate, TaskRead, TaskUpdate
from app.services import tasks
from groundwork.http.bodies import Message
from groundwork.http.conditional import CONDITIONS, RequestCondition, not_modified_or, with_etag
from groundwork.http.idempotency import RETRIES, IdempotencyKey, create_once
from groundwork.http.paging import MAX_LIMIT, Cursor, Limit, one_page
from groundwork.http.responses import CREATED, DELETED, LISTED, READ, UPDATED, WRITTEN
from groundwork.http.routing import BooleanFilter, UserId, router_of

router = router_of("tasks")

TaskId = Annotated[UUID, Path(description="The task's id.")]


@router.get("", responses=LISTED)
async def list_tasks(
    user_id: UserId,
    database: Database,
    request: Request,
    response: Response,
    limit: Limit = MAX_LIMIT,
    cursor: Cursor = None,
    completed: Annotated[BooleanFilter, Query(description="True lists completed tasks, false all others.")] = None,
) -> list[TaskRead]:
    """The user's tasks, newest first."""
    # One row more than the page holds shows whether there is a next page.
    found = await tasks.list_tasks(database, user_id, limit=limit + 1, before=cursor, completed=completed)
    return one_page(found, limit, request, response)


@router.post("", status_code=status.HTTP_201_CREATED, response_model=TaskRead, responses=CREATED, openapi_extra=RETRIES)
async def create_task(
    user_id: UserId,
    task: TaskCreate,
    database: Database,
    key: IdempotencyKey,
    request: Request,
    response: Response,
) -> TaskRead | Response:
    """Create a task."""
    create = partial(tasks.create_task, user_id=user_id, task=task)
    return await create_once(key, create, database, user_id, request, response)


@router.get("/{task_id}", response_model=TaskRead, responses=READ, openapi_extra=CONDITIONS)
async def get_task(
    user_id: UserId, task_id: TaskId, database: Database, condition: RequestCondition, response: Response
) -> TaskRead | Response:
    """One task."""
    return not_modified_or(response, await tasks.get_task(database, user_id, task_id), condition)


@router.put("/{task_id}", responses=UPDATED, openapi_extra=CONDITIONS)
async def update_task(
    user_id: UserId,
    task_id: TaskId,
    task: TaskUpdate,
    database: Database,
    condition: RequestCondition,
    response: Response,
) -> TaskRead:
    """Change the members that are given."""
    return with_etag(response, await tasks.update_task(database, user_id, task_id, task, condition))


@router.delete("/{task_id}", responses=DELETED, openapi_extra=CONDITIONS)
async def delete_task(user_id: UserId, task_id: TaskId, database: Database, condition: RequestCondition) -> Message:
    """Delete a task for good."""
    await tasks.delete_task(database, user_id, task_id, condition)
    return Message(message="Task deleted successfully")


@router.patch("/{task_id}/complete", responses=WRITTEN, openapi_extra=CONDITIONS)
async def toggle_task(
    user_id: UserId, task_id: TaskId, database: Database, condition: RequestCondition, response: Response
) -> TaskRead:
    """Flip `completed`. Two requests flip it twice. With `If-Match`, a retry of one that took effect does nothing."""
    return with_etag(response, await tasks.toggle_task(database, user_id, task_id, condition))

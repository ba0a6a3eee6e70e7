from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response, status
from pydantic import WithJsonSchema

from app.core.conditional import CHANGED, CONDITIONS, ETAG, NOT_MODIFIED, RequestCondition, tagged, unless_kept
from app.core.database import Executor
from app.core.errors import ContentTooLarge, Invalid, NotFound, Unavailable, UnsupportedMediaType
from app.core.idempotency import CONFLICT, RETRIES, IdempotencyKey, answer_once
from app.core.paging import MAX_LIMIT, Cursor, Limit, link_next_page
from app.core.paths import request_path
from app.core.problems import problem_responses
from app.core.routing import DatabaseDependency, JSONRoute, UserId
from app.schemas.task import Message, TaskCreate, TaskRead, TaskUpdate
from app.services import tasks

router = APIRouter(
    prefix="/api/{user_id:segment}/tasks",
    tags=["tasks"],
    route_class=JSONRoute,
    responses=problem_responses(Invalid, Unavailable),
)

_TAGGED = {"headers": ETAG}
_MISSING = problem_responses(NotFound)
_BODY = problem_responses(ContentTooLarge, UnsupportedMediaType)
_LINK = {"Link": {"description": 'The next page, `rel="next"`; absent on the last.', "schema": {"type": "string"}}}
_CREATED = {"headers": {"Location": {"description": "The new task's path.", "schema": {"type": "string"}}, **ETAG}}

TaskId = Annotated[UUID, Path(description="The task's id.")]


@router.get("", responses={200: {"headers": _LINK}})
async def list_tasks(
    user_id: UserId,
    database: DatabaseDependency,
    request: Request,
    response: Response,
    limit: Limit = MAX_LIMIT,
    cursor: Cursor = None,
    completed: Annotated[
        bool | None,
        Query(description="Only those that are, or are not, completed."),
        WithJsonSchema({"type": "boolean"}),
    ] = None,
) -> list[TaskRead]:
    """The user's tasks, newest first."""
    page = await tasks.list_tasks(database, user_id, limit=limit + 1, before=cursor, completed=completed)
    if len(page) > limit:
        page.pop()
        link_next_page(request, response, page[-1].id)
    return page


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=TaskRead,
    responses={**_BODY, **CONFLICT, 201: _CREATED},
    openapi_extra=RETRIES,
)
async def create_task(
    user_id: UserId,
    task: TaskCreate,
    database: DatabaseDependency,
    key: IdempotencyKey,
    request: Request,
    response: Response,
) -> TaskRead | Response:
    """Create a task."""

    async def create(executor: Executor) -> TaskRead:
        created = await tasks.create_task(executor, user_id, task)
        response.headers["Location"] = f"{request_path(request)}/{created.id}"
        return tagged(response, created)

    return await (answer_once(key, create, database, user_id, response) if key else create(database))


@router.get(
    "/{task_id}",
    response_model=TaskRead,
    responses={**_MISSING, **CHANGED, **NOT_MODIFIED, 200: _TAGGED},
    openapi_extra=CONDITIONS,
)
async def get_task(
    user_id: UserId, task_id: TaskId, database: DatabaseDependency, condition: RequestCondition, response: Response
) -> TaskRead | Response:
    """One task."""
    return unless_kept(response, await tasks.get_task(database, user_id, task_id), condition)


@router.put("/{task_id}", responses={**_MISSING, **_BODY, **CHANGED, 200: _TAGGED}, openapi_extra=CONDITIONS)
async def update_task(
    user_id: UserId,
    task_id: TaskId,
    task: TaskUpdate,
    database: DatabaseDependency,
    condition: RequestCondition,
    response: Response,
) -> TaskRead:
    """Change the members that are given."""
    return tagged(response, await tasks.update_task(database, user_id, task_id, task, condition))


@router.delete("/{task_id}", responses={**_MISSING, **CHANGED}, openapi_extra=CONDITIONS)
async def delete_task(
    user_id: UserId, task_id: TaskId, database: DatabaseDependency, condition: RequestCondition
) -> Message:
    """Delete a task for good."""
    await tasks.delete_task(database, user_id, task_id, condition)
    return Message(message="Task deleted successfully")


@router.patch("/{task_id}/complete", responses={**_MISSING, **CHANGED, 200: _TAGGED}, openapi_extra=CONDITIONS)
async def toggle_task(
    user_id: UserId, task_id: TaskId, database: DatabaseDependency, condition: RequestCondition, response: Response
) -> TaskRead:
    """Flip `completed`. Two at once flip it twice; with `If-Match`, a retry of one that took effect does nothing."""
    return tagged(response, await tasks.toggle_task(database, user_id, task_id, condition))

"""A service in which each operation breaks a promise of the contract, or is covered by no entry."""

from typing import Annotated, Any
from uuid import UUID

import asyncpg
from fastapi import Path, Query, Request, Response, status
from starlette.responses import JSONResponse

from app.core.config import Settings
from app.core.database import Database
from app.routes.tasks import TaskId, get_task
from app.schemas.task import TaskCreate, TaskRead, TaskUpdate
from app.services import tasks
from groundwork.errors import NotFound
from groundwork.http.bodies import Message
from groundwork.http.conditional import CONDITIONS, RequestCondition, created, not_modified_or, with_etag
from groundwork.http.idempotency import RETRIES, IdempotencyKey
from groundwork.http.paging import MAX_LIMIT, Cursor, one_page
from groundwork.http.responses import CREATED, DELETED, LISTED, READ, UPDATED, WRITTEN
from groundwork.http.routing import BooleanFilter, UserId, router_of
from groundwork.serve import application
from groundwork.serve.application import Application

BREAKS = {
    "ownership": "delete_task",
    "statements": "get_task",
    "members": "update_task",
    "paging": "list_tasks",
    "conditional requests": "toggle_task",
    "idempotency": "create_task",
    "bad input": "toggle_task",
    "document": "get_task",
}
"""The operation that breaks a promise, by promise."""
FAILS = {
    "test_every_operation_on_a_users_data_has_a_case",
    "test_what_is_another_users_looks_like_what_never_existed[delete_task]",
    "test_an_operation_is_one_statement_for_the_owner[get_task-True]",
    "test_an_operation_is_one_statement_for_the_owner[get_task-False]",
    "test_a_change_leaves_the_other_members_as_they_are[tasks]",
    "test_a_limit_out_of_range_is_refused[tasks]",
    "test_an_operation_takes_effect_in_the_wanted_version_only[toggle_task]",
    "test_a_retry_with_its_key_creates_no_second[tasks]",
    "test_retries_at_once_create_one[tasks]",
    "test_a_key_is_for_one_request_of_one_user[tasks]",
    "test_a_key_is_not_ignored[create_task]",
    "test_what_is_missing_is_answered_as_a_problem[toggle_task]",
    "test_every_operation_and_parameter_is_described",
}
"""The tests that must find a broken promise. No others may."""
UNCOVERED = {
    "export_tasks": (
        "(GET /api/{user_id}/tasks/export):"
        ' Resource("task", …, more_on_all={"export_tasks": lambda client, own: client.get(f"{own}/export")})'
    ),
    "archive_task": (
        "(POST /api/{user_id}/tasks/{task_id}/archive):"
        ' Resource("task", …, more={"archive_task": lambda client, one: client.post(f"{one}/archive", json={…})})'
    ),
    "get_profile": (
        "(GET /api/{user_id}/profile): it belongs to no Resource:"
        ' "get_profile": Differs("the reason") in DIFFERS, and a test of its own.'
    ),
    "list_notes": "(GET /api/{user_id}/notes/{note_id}): add a Resource with the plural notes to RESOURCES.",
}
"""The operations that no entry covers, and what the failure says of each."""

router = router_of("tasks")


@router.get("", responses=LISTED)
async def list_tasks(
    user_id: UserId,
    database: Database,
    request: Request,
    response: Response,
    limit: Annotated[int, Query(description="Without bounds.")] = MAX_LIMIT,
    cursor: Cursor = None,
    completed: Annotated[BooleanFilter, Query(description="True lists completed tasks, false all others.")] = None,
) -> list[TaskRead]:
    """Takes every limit."""
    bounded = min(max(limit, 1), MAX_LIMIT)
    found = await tasks.list_tasks(database, user_id, limit=bounded + 1, before=cursor, completed=completed)
    return one_page(found, bounded, request, response)


@router.post("", status_code=status.HTTP_201_CREATED, responses=CREATED, openapi_extra=RETRIES)
async def create_task(
    user_id: UserId, task: TaskCreate, database: Database, key: IdempotencyKey, request: Request, response: Response
) -> TaskRead:
    """Ignores the key."""
    return created(request, response, await tasks.create_task(database, user_id, task))


@router.get("/export", responses=DELETED)
async def export_tasks(user_id: UserId) -> Message:
    """Stands in no entry of the table."""
    return Message(message="Nothing")


@router.get("/{task_id}", name=get_task.__name__, response_model=TaskRead, responses=READ, openapi_extra=CONDITIONS)
async def without_description(
    user_id: UserId, task_id: TaskId, database: Database, condition: RequestCondition, response: Response
) -> TaskRead | Response:
    # Sends two statements, and has no docstring.
    try:
        await tasks.get_task(database, user_id, task_id)
    except NotFound:
        await tasks.get_task(database, user_id, task_id)
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
    """Leaves the description as it is."""
    given = TaskUpdate.model_validate({name: value for name, value in task.fields_set().items() if name in _KEPT})
    return with_etag(response, await tasks.update_task(database, user_id, task_id, given, condition))


_KEPT = ("title", "completed")


@router.delete("/{task_id}", responses=DELETED, openapi_extra=CONDITIONS)
async def delete_task(
    user_id: UserId, task_id: TaskId, database: Database, condition: RequestCondition, request: Request
) -> Message:
    """Says by another sentence when the task is another user's."""
    connection = await asyncpg.connect(request.app.state.database_url)
    owners = [row["user_id"] for row in await connection.fetch("SELECT user_id FROM tasks WHERE id = $1", task_id)]
    await connection.close()
    if owners and user_id not in owners:
        raise NotFound("This task is not yours.")
    await tasks.delete_task(database, user_id, task_id, condition)
    return Message(message="Task deleted successfully")


@router.patch("/{task_id}/complete", response_model=TaskRead, responses=WRITTEN, openapi_extra=CONDITIONS)
async def toggle_task(
    user_id: UserId, task_id: TaskId, database: Database, condition: RequestCondition, response: Response
) -> Any:
    """Ignores the condition, and answers an error of its own."""
    try:
        return with_etag(response, await tasks.toggle_task(database, user_id, task_id))
    except NotFound:
        return JSONResponse({"error": "no such task"}, 404)


@router.post("/{task_id}/archive", responses=DELETED)
async def archive_task(user_id: UserId, task_id: TaskId, task: TaskUpdate) -> Message:
    """Stands in no entry of the table."""
    return Message(message="Archived")


profiles, notes = router_of("profile"), router_of("notes")


@profiles.get("", responses=DELETED)
async def get_profile(user_id: UserId) -> Message:
    """Belongs to no resource."""
    return Message(message="Alice")


@notes.get("/{note_id}", responses=DELETED)
async def list_notes(user_id: UserId, note_id: Annotated[UUID, Path(description="The id.")]) -> Message:
    """Belongs to a resource that has no entry."""
    return Message(message="A note")


def create_app(settings: Settings) -> Application:
    app = application.create_app(settings, resources=[router, profiles, notes], title="Broken")
    app.state.database_url = settings.database_url.get_secret_value()
    return app

"""Services in which a user has a title once. One of them keeps the contract, and each of the others breaks it."""

from collections.abc import Mapping

import asyncpg
from fastapi import status
from sqlalchemy import Index, insert, update

from app.core.config import Settings
from app.models.task import Task
from app.routes import tasks as routes
from app.schemas.task import TaskCreate, TaskRead
from app.services import tasks
from groundwork.data.database import Executor
from groundwork.data.rows import insert_values, owned_row
from groundwork.data.statement import NO_CONFLICTS, Statement
from groundwork.data.versions import PartialUpdate
from groundwork.errors import Conflict
from groundwork.http.conditional import CONDITIONS
from groundwork.http.idempotency import CONFLICT, RETRIES
from groundwork.http.responses import CREATED, DELETED, LISTED, READ, UPDATED, WRITTEN
from groundwork.http.routing import router_of
from groundwork.serve import application
from groundwork.serve.application import Application

NAME = "tasks_user_id_title_idx"
SENTENCE = "There is a task with this title."

Index(NAME, Task.__table__.c.user_id, Task.__table__.c.title, unique=True)  # type: ignore[attr-defined]
create_task = tasks.create_task

router = router_of("tasks")
router.get("", responses=LISTED)(routes.list_tasks)
router.post("", status_code=status.HTTP_201_CREATED, response_model=TaskRead, responses=CREATED, openapi_extra=RETRIES)(
    routes.create_task
)
router.get("/{task_id}", response_model=TaskRead, responses=READ, openapi_extra=CONDITIONS)(routes.get_task)
router.put("/{task_id}", responses={**UPDATED, **CONFLICT}, openapi_extra=CONDITIONS)(routes.update_task)
router.delete("/{task_id}", responses=DELETED, openapi_extra=CONDITIONS)(routes.delete_task)
router.patch("/{task_id}/complete", responses=WRITTEN, openapi_extra=CONDITIONS)(routes.toggle_task)


def _app(settings: Settings, conflicts: Mapping[str, str]) -> Application:
    tasks._CREATE = Statement(
        insert(Task).values(insert_values(Task)).returning(Task), returns=TaskRead, conflicts=conflicts
    )
    tasks._UPDATE = PartialUpdate(
        update(Task).where(owned_row(Task)), Task, tasks._GET, returns=TaskRead, conflicts=conflicts
    )
    tasks.create_task = create_task
    return application.create_app(settings, resources=[router], title="Unique titles")


def keeps(settings: Settings) -> Application:
    """Says in a sentence that a title is taken."""
    return _app(settings, {NAME: SENTENCE})


def without_conflicts(settings: Settings) -> Application:
    """Lets the database refuse a title that is taken, and says nothing of it."""
    return _app(settings, NO_CONFLICTS)


def over_all_users(settings: Settings) -> Application:
    """Refuses a title that another user has."""

    async def create(database: Executor, user_id: str, task: TaskCreate) -> TaskRead:
        connection = await asyncpg.connect(settings.database_url.get_secret_value())
        taken = await connection.fetchval("SELECT EXISTS (SELECT FROM tasks WHERE title = $1)", task.title)
        await connection.close()
        if taken:
            raise Conflict(SENTENCE)
        return await create_task(database, user_id, task)

    app = _app(settings, {NAME: SENTENCE})
    tasks.create_task = create
    return app

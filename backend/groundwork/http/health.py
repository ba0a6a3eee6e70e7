"""Health checks: `/health/live`, whether the process runs, and `/health/ready`, whether it can serve."""

import asyncio
import logging
from functools import cache
from pathlib import Path
from typing import Literal

from asyncpg import InsufficientPrivilegeError, UndefinedTableError
from fastapi import APIRouter
from pydantic import BaseModel

from groundwork.data import schema_state
from groundwork.data.database import Executor
from groundwork.data.statement import Statement
from groundwork.errors import Unavailable
from groundwork.http.problems import problem_responses
from groundwork.http.routing import DatabaseDependency

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/health", tags=["health"])

# The service runs in the folder that contains `migrations`.
_MIGRATIONS = Path("migrations").absolute()


class Health(BaseModel):
    """The check has passed."""

    status: Literal["ok"]


class DatabaseBehind(Unavailable):
    """Migrations are missing."""

    detail = "The database is behind the code: run the migrations."


class DatabaseUnfit(Unavailable):
    """The database does not fit this version. Only the log says why, because the reason names tables and roles."""

    detail = "The database does not fit this version of the service; the log says what to do."


_STATE = Statement(schema_state.SCHEMA_STATE, returns=schema_state.SchemaState)


@router.get("/live")
async def live() -> Health:
    """The process runs. The database is not asked, because a restart of the service would not bring it back."""
    return Health(status="ok")


@router.get("/ready", responses=problem_responses(Unavailable, DatabaseBehind, DatabaseUnfit))
async def ready(database: DatabaseDependency) -> Health:
    """The service can serve: the database answers, and every migration that this code needs has run."""
    try:
        schema_state.require_fit(await _state(database), await asyncio.to_thread(_migrations))
    except schema_state.Behind as error:
        raise DatabaseBehind from error
    except schema_state.Unfit as error:
        logger.warning("not ready: %s", error)
        raise DatabaseUnfit from error
    return Health(status="ok")


async def _state(database: Executor) -> schema_state.SchemaState:
    try:
        state = await database.one(_STATE, tables=schema_state.needed_tables())
    except UndefinedTableError:
        state = None
    except InsufficientPrivilegeError as error:
        raise schema_state.Unfit(f"{error}: run GRANT SELECT ON alembic_version TO the role of DATABASE_URL") from error
    if state is None:
        raise schema_state.Behind
    return state


@cache
def _migrations() -> schema_state.Migrations:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - slow to import, and not needed at the start

    if not _MIGRATIONS.is_dir():
        raise schema_state.Unfit(f"there is no folder {_MIGRATIONS}: start the service in the folder that holds it")
    return schema_state.Migrations.of(ScriptDirectory(str(_MIGRATIONS)))

"""Whether the process runs, and whether it can serve."""

import asyncio
from functools import cache
from pathlib import Path
from typing import Literal

from asyncpg import UndefinedTableError
from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import column, select, table

from app.core.database import Executor
from app.core.errors import Unavailable
from app.core.known_tables import public
from app.core.problems import problem_responses
from app.core.routing import DatabaseDependency
from app.core.statement import Statement

router = APIRouter(prefix="/health", tags=["health"])

_MIGRATIONS = Path(__file__).parents[2] / "migrations"


class Health(BaseModel):
    status: Literal["ok"]


class _Revision(BaseModel):
    version_num: str


_version = public(table("alembic_version", column("version_num")), reason="Alembic's: the schema's revision.")
_REVISION = Statement(select(_version.c.version_num), returns=_Revision)


@router.get("/live")
async def live() -> Health:
    """The process runs. It does not ask the database: restarting the service would not bring that back."""
    return Health(status="ok")


@router.get("/ready", responses=problem_responses(Unavailable))
async def ready(database: DatabaseDependency) -> Health:
    """The service can serve: the database answers, and every migration that this code needs has run."""
    await _require_migrated(database)
    return Health(status="ok")


async def _require_migrated(database: Executor) -> None:
    revision = await _revision(database)
    head, known = await asyncio.to_thread(_migrations)
    # A revision unknown to this code is newer than it: during a roll-out the old version goes on serving.
    if revision != head and (revision is None or revision in known):
        raise Unavailable("The database is behind the code: run the migrations.")


async def _revision(database: Executor) -> str | None:
    try:
        row = await database.one(_REVISION)
    except UndefinedTableError:
        return None
    return row.version_num if row else None


@cache
def _migrations() -> tuple[str | None, frozenset[str]]:
    """The newest revision, and all of them."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - not needed to start, and slow to import

    scripts = ScriptDirectory(str(_MIGRATIONS))
    return scripts.get_current_head(), frozenset(script.revision for script in scripts.walk_revisions())

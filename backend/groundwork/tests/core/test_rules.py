"""A rule on the state of a row: when a write is refused for it, and with which error."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import Column, DateTime, MetaData, bindparam, delete, insert, update
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel, col, select

from app.models.task import Task
from app.schemas.task import TaskRead
from groundwork.data.database import Database
from groundwork.data.rows import owned_row
from groundwork.data.statement import Statement
from groundwork.data.versions import ALWAYS, Condition, PartialUpdate, Rule, VersionedStatement, later
from groundwork.errors import Conflict, NotFound, PreconditionFailed
from groundwork.tests.core import database_at

ID = UUID("01990000-0000-7000-8000-000000000001")
MISSING = UUID("01990000-0000-7000-8000-000000000002")
VERSION = datetime(2026, 1, 1, tzinfo=UTC)
CURRENT, STALE = Condition([VERSION]), Condition([datetime(2001, 1, 1, tzinfo=UTC)])


class Completed(Conflict):
    detail = "A completed task stays as it is."


_RULE = Rule(~col(Task.completed), Completed)
_GET = Statement(select(Task).where(owned_row(Task)), returns=TaskRead)
_DELETE = VersionedStatement(delete(Task).where(owned_row(Task)), Task, _GET, rule=_RULE)
_RETURNED = VersionedStatement(
    delete(Task).where(owned_row(Task)).returning(Task), Task, _GET, returns=TaskRead, rule=_RULE
)
_UPDATE = PartialUpdate(update(Task).where(owned_row(Task)), Task, _GET, returns=TaskRead, rule=_RULE)

Write = Callable[[Database, Condition, str, UUID], Awaitable[object]]


async def _delete(database: Database, condition: Condition, owner: str, id: UUID) -> None:
    await _DELETE.execute(database, condition, owner=owner, id=id)


async def _delete_and_return(database: Database, condition: Condition, owner: str, id: UUID) -> object:
    return await _RETURNED.one(database, condition, owner=owner, id=id)


async def _update(database: Database, condition: Condition, owner: str, id: UUID) -> object:
    return await _UPDATE.one(database, condition, {"title": "Changed"}, owner=owner, id=id)


@pytest.fixture(params=[_delete, _delete_and_return, _update])
def write(request: pytest.FixtureRequest) -> Write:
    function: Write = request.param
    return function


@pytest.fixture
async def database(service_url: str) -> AsyncIterator[Database]:
    async with database_at(service_url) as database:
        yield database


async def _insert(connection: asyncpg.Connection, *, completed: bool) -> None:
    await connection.execute(
        "INSERT INTO tasks (user_id, id, title, completed, created_at, updated_at)"
        " VALUES ('alice', $1, 'x', $2, $3, $3)",
        ID,
        completed,
        VERSION,
    )


async def _titles(connection: asyncpg.Connection) -> list[str]:
    return [row["title"] for row in await connection.fetch("SELECT title FROM tasks")]


@pytest.mark.parametrize("condition", [ALWAYS, CURRENT], ids=["always", "current"])
async def test_a_row_that_keeps_the_rule_is_written(
    database: Database, connection: asyncpg.Connection, write: Write, condition: Condition
) -> None:
    await _insert(connection, completed=False)
    await write(database, condition, "alice", ID)
    assert await _titles(connection) in ([], ["Changed"])


@pytest.mark.parametrize("condition", [ALWAYS, CURRENT], ids=["always", "current"])
async def test_a_row_that_breaks_it_is_refused_with_the_rules_error(
    database: Database, connection: asyncpg.Connection, write: Write, condition: Condition
) -> None:
    """Also with the current version: after a 412 a client would read the same version again, without end."""
    await _insert(connection, completed=True)
    with pytest.raises(Completed, match="stays as it is"):
        await write(database, condition, "alice", ID)
    assert await _titles(connection) == ["x"]


@pytest.mark.parametrize("completed", [True, False])
async def test_an_old_version_comes_first(
    database: Database, connection: asyncpg.Connection, write: Write, completed: bool
) -> None:
    """Whoever wrote to an old version has not seen the state to which the rule applies."""
    await _insert(connection, completed=completed)
    with pytest.raises(PreconditionFailed):
        await write(database, STALE, "alice", ID)
    assert await _titles(connection) == ["x"]


@pytest.mark.parametrize("condition", [ALWAYS, CURRENT, STALE], ids=["always", "current", "stale"])
@pytest.mark.parametrize(("owner", "id_"), [("mallory", ID), ("alice", MISSING)], ids=["foreign", "missing"])
async def test_the_rule_says_nothing_of_a_foreign_row(
    database: Database, connection: asyncpg.Connection, write: Write, condition: Condition, owner: str, id_: UUID
) -> None:
    await _insert(connection, completed=True)
    with pytest.raises(NotFound, match="Task not found"):
        await write(database, condition, owner, id_)
    assert await _titles(connection) == ["x"]


async def test_an_update_of_nothing_breaks_no_rule(database: Database, connection: asyncpg.Connection) -> None:
    await _insert(connection, completed=True)
    assert (await _UPDATE.one(database, CURRENT, {}, owner="alice", id=ID)).title == "x"


class Base(SQLModel, registry=registry()):
    metadata = MetaData()


class Record(Base, table=True):
    """A table whose column for the version has another name than the attribute."""

    id: UUID = Field(primary_key=True)
    user_id: str
    updated_at: datetime = Field(sa_column=Column("updatedAt", DateTime(timezone=True)))


_MINE = owned_row(Task)
_GET_TITLED = Statement(select(Task).where(_MINE, col(Task.title) == bindparam("title")), returns=TaskRead)
_LATER: Any = {"updated_at": later(Task)}


class TestAVersionedStatement:
    """What is refused at import."""

    @pytest.mark.parametrize(
        "statement",
        [select(Task).where(_MINE), insert(Task).values(title="x"), Task],
        ids=["select", "insert", "model"],
    )
    def test_writes_a_row(self, statement: Any) -> None:
        with pytest.raises(TypeError, match=r"give update\(\) or delete\(\), or make it a Statement"):
            VersionedStatement(statement, Task, _GET)

    def test_makes_the_version_later(self) -> None:
        changed = update(Task).where(_MINE).values(completed=True)
        with pytest.raises(TypeError, match=r"leaves the version as it was: add updated_at=later\(Task\)"):
            VersionedStatement(changed, Task, _GET)
        assert VersionedStatement(changed.values(_LATER), Task, _GET)
        assert VersionedStatement(changed.values({col(Task.updated_at): later(Task)}), Task, _GET)

    @pytest.mark.parametrize("key", ["updated_at", col(Record.updated_at)], ids=["text", "column"])
    def test_knows_the_version_by_its_attribute_and_by_its_column(self, key: Any) -> None:
        mine = owned_row(Record)
        changed = update(Record).where(mine).values({key: later(Record)})
        assert VersionedStatement(changed, Record, Statement(select(Record).where(mine)))

    def test_has_the_parameters_of_get(self) -> None:
        with pytest.raises(TypeError, match=r"get takes \['title'\], which the statement does not: give both the same"):
            VersionedStatement(delete(Task).where(_MINE), Task, _GET_TITLED)
        with pytest.raises(TypeError, match="get takes"):
            PartialUpdate(update(Task).where(_MINE), Task, _GET_TITLED, returns=TaskRead)

    @pytest.mark.parametrize("broken", [Completed(), ValueError, "Completed", None], ids=repr)
    def test_has_a_rule_with_an_error_of_the_api(self, broken: Any) -> None:
        with pytest.raises(TypeError, match=r"the rule ends in .*: give a class that is derived from AppError"):
            VersionedStatement(delete(Task).where(_MINE), Task, _GET, rule=Rule(~col(Task.completed), broken))

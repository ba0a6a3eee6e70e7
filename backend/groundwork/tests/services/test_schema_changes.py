"""Every statement of the service, on connections that are open while the schema changes: alone and in a transaction."""

import pkgutil
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import asyncpg
import pytest
from sqlalchemy import inspect

import app.services
from groundwork import ids
from groundwork.data import idempotency_records
from groundwork.data.database import Database
from groundwork.data.keyed_insert import KeyedInsert, key_arguments, keyed_insert
from groundwork.data.statement import Statement
from groundwork.data.versions import PartialUpdate, VersionedStatement
from groundwork.http import health
from groundwork.tests.core import BOTH_WAYS, database_at
from groundwork.tests.pooler import CHANGES

# The service's own modules may name tables and columns as they like; what is changed here is changed back.
MORE_CHANGES = (
    "ALTER TABLE tasks ALTER title TYPE varchar(250)",
    "CREATE INDEX by_title ON tasks (user_id, title)",
    "ALTER TABLE tasks ADD COLUMN note text",
    "ALTER TABLE tasks RENAME COLUMN note TO remark",
    "ALTER TABLE tasks DROP COLUMN remark",
    "ALTER TABLE idempotency_keys ALTER answer TYPE varchar, ALTER key TYPE text",
    "ALTER TABLE idempotency_keys ADD COLUMN note text",
    "ALTER TABLE idempotency_keys DROP COLUMN note",
    "CREATE DOMAIN short AS varchar(200)",
    "ALTER TABLE tasks ALTER title TYPE short",
    "ALTER TABLE tasks ALTER title TYPE varchar(200); DROP DOMAIN short; CREATE DOMAIN short AS text;"
    " ALTER TABLE tasks ALTER title TYPE short",
    "ALTER TABLE alembic_version ALTER version_num TYPE text",
    "ALTER TABLE tasks ALTER COLUMN created_at TYPE timestamptz(6), ALTER COLUMN updated_at TYPE timestamptz(6)",
)
OWNER = "the owner"


def _modules() -> Iterator[Any]:
    yield from (health, idempotency_records)
    for module in pkgutil.iter_modules(app.services.__path__, "app.services."):
        yield import_module(module.name)


def _statements(found: Any) -> list[Statement[Any]]:
    match found:
        case Statement():
            keyed = keyed_insert(found)
            return [found, keyed] if keyed else [found]
        case VersionedStatement():
            return [found.always, found.guarded]
        case PartialUpdate():
            columns = frozenset(inspect(found._model).columns.keys()) - {"user_id", "id", "created_at", "updated_at"}
            return [
                statement
                for some in (columns, *(frozenset({column}) for column in columns))
                for statement in _statements(found.writing(some))
            ]
    return []


STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}.{name} {number}": statement
    for module in _modules()
    for name, found in vars(module).items()
    for number, statement in enumerate(_statements(found))
}


class _Rows:
    """A task and a key of the owner's, and what the statements are given by the names of their values."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._id = ids.new_row()["id"]

    async def make(self) -> None:
        """Both as they were at first, whatever a statement has done to them."""
        await self._connection.execute("DELETE FROM tasks; DELETE FROM idempotency_keys")
        await self._connection.execute(
            "INSERT INTO tasks (user_id, id, title, updated_at) VALUES ($1, $2, 'Buy milk', $3)",
            OWNER, self._id, self._version(),
        )  # fmt: skip
        await self._connection.execute(
            "INSERT INTO idempotency_keys (user_id, key, fingerprint, answer) VALUES ($1, 'first', '', '{}')", OWNER
        )

    @staticmethod
    def _version() -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def values(self, statement: Statement[Any]) -> dict[str, Any]:
        creates = "INSERT INTO tasks" in statement.sql
        known = {
            **ids.new_row(),
            **({} if creates else {"id": self._id}),
            "owner": OWNER,
            "title": "Buy milk",
            "description": None,
            "completed": False,
            "limit": 10,
            "before": ids.LARGEST,
            "any_of": "{2026-01-01T00:00:00+00:00}",
            "none_of": "{}",
            "key": "first",
            "fingerprint": b"",
            "answer": "{}",
            "corrected": "{}",
            "tables": [],
            **key_arguments("another", b"", "{}"),
        }
        return {name: known[name] for name in statement._names}


def test_the_statements_are_found() -> None:
    assert {
        "tasks._CREATE 0",
        "tasks._CREATE 1",
        "tasks._UPDATE 3",
        "idempotency_records.CLAIM 0",
        "health._STATE 0",
    } <= set(STATEMENTS)


@pytest.fixture(params=BOTH_WAYS)
async def database(request: pytest.FixtureRequest, service_url: str) -> AsyncIterator[Database]:
    """It has one connection, so each statement meets what is kept on it from before a change."""
    async with database_at(service_url, pool_size=1, kind=request.param) as database:
        yield database


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
async def test_a_statement_gives_the_same_after_each_change(
    request: pytest.FixtureRequest, database: Database, connection: asyncpg.Connection, statement: Statement[Any]
) -> None:
    if request.config.option.partitioned:
        pytest.skip("the changes are for tables that are not partitioned")
    rows = _Rows(connection)

    async def run() -> Any:
        await rows.make()
        if isinstance(statement, KeyedInsert):
            row: Any = await database.one(statement, **rows.values(statement))
            return {**row, "id": None, "created_at": None, "updated_at": None}
        if hasattr(statement, "_validate"):
            found = await database.all(statement, **rows.values(statement))
            return [row.model_dump(exclude={"id", "created_at", "updated_at"}) for row in found]
        return await database.execute(statement, **rows.values(statement))

    before = await run()
    for change in (*MORE_CHANGES, *CHANGES):
        await connection.execute(change)
        assert await run() == before, change

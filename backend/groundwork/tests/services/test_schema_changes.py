"""Runs every statement of the service on connections that stay open while the schema changes.

Each statement is run alone and in a transaction.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from app.services import tasks
from groundwork import ids
from groundwork.data.database import Database, Executor
from groundwork.data.idempotency_records import Kept
from groundwork.data.keyed_insert import KeyedInsert, key_arguments, keyed_insert
from groundwork.data.statement import Statement
from groundwork.tests.core import BOTH_WAYS, database_at
from groundwork.tests.pooler import CHANGES, Pooler
from groundwork.tests.services.statements import STATEMENTS, values_of

# These changes do not depend on the names of the service's tables and columns. Each change is undone.
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
_KEYED: Any = keyed_insert(tasks._CREATE)
USERS = 4


class _Rows:
    """A task and a key of the owner, and the values for the statements by their names."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._id = ids.new_row()["id"]

    async def make(self) -> None:
        """Make both rows as they were at first, whatever a statement has done to them."""
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
        return values_of(statement, owner=OWNER, id=self._id)


def test_the_statements_are_found() -> None:
    assert {
        "tasks._CREATE 0",
        "tasks._CREATE 1",
        "tasks._UPDATE 3",
        "idempotency_records.CLAIM 0",
        "health._STATE 0",
    } <= set(STATEMENTS)


@pytest.fixture(params=["direct", "pooler", "tracking_pooler"])
def url(request: pytest.FixtureRequest, database_url: str) -> str:
    """The URL of the database, directly and through both kinds of poolers."""
    if request.param == "direct":
        return database_url
    pooler: Pooler = request.getfixturevalue(request.param)
    return pooler.url(database_url)


@pytest.fixture(params=BOTH_WAYS)
async def database(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Database]:
    """A database with one connection. So each statement meets what this connection has kept from before a change."""
    async with database_at(url, pool_size=1, kind=request.param) as database:
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
        if statement.reads or " RETURNING " in statement.sql:
            found = await database.all(statement, **rows.values(statement))
            return [row.model_dump(exclude={"id", "created_at", "updated_at"}) for row in found]
        return await database.execute(statement, **rows.values(statement))

    before = await run()
    for change in (*MORE_CHANGES, *CHANGES):
        await connection.execute(change)
        assert await run() == before, change


class _Worker:
    """Runs the service's statements for several users, each at the same time in a session of its own."""

    def __init__(self, url: str, name: str) -> None:
        self.database = database_at(url, pool_size=USERS)
        self._users = [f"{name} {number}" for number in range(USERS)]
        self._ids = {user: ids.new_row()["id"] for user in self._users}

    async def make_rows(self) -> None:
        for user, id in self._ids.items():
            assert await self._run(self.database, tasks._CREATE, user, id=id, title=user, description=user)

    async def use_one_after_the_other(self) -> None:
        """Prepare the statements on each connection in turn. A pooler uses one session for all of them."""
        pool = self.database._pool
        connections = [await pool.acquire() for _ in self._users]
        for place, connection in enumerate(connections):
            pool.release(connection)
            await self._use(self.database, self._users[0])
            connections[place] = await pool.acquire()
        for connection in connections:
            pool.release(connection)

    async def use_at_once(self, all_have_begun: asyncio.Barrier) -> None:
        """Run each user's statements in a transaction that begins before all others, and then without one."""
        await asyncio.gather(*(self._use_in_transaction(user, all_have_begun) for user in self._users))
        await asyncio.gather(*(self._use(self.database, user) for user in self._users * 2))

    async def _use_in_transaction(self, user: str, all_have_begun: asyncio.Barrier) -> None:
        attempts = 0

        async def work(statements: Executor) -> None:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                await all_have_begun.wait()
            await self._use(statements, user)

        await self.database.run_in_transaction(work)

    async def _use(self, statements: Executor, user: str) -> None:
        for statement, values in (
            (tasks._GET, {}),
            (tasks._TOGGLE.always, {}),
            (tasks._LIST, {"before": ids.LARGEST, "completed": None, "limit": 10}),
            (tasks._UPDATE.writing(frozenset({"title"})).always, {"title": user}),
        ):
            id = {} if statement is tasks._LIST else {"id": self._ids[user]}
            assert await self._run(statements, statement, user, **id, **values), statement.sql
        await self._create_once(statements, user)

    async def _create_once(self, statements: Executor, user: str) -> None:
        """Create a row of another user with a new key, and repeat the request."""
        key, fingerprint = str(ids.uuid7()), user.encode()
        new = {**ids.new_row(), "owner": f"{user} once", "title": user, "description": user, "completed": False}
        created: Any = await statements.one(_KEYED, **new, **key_arguments(key, fingerprint, user))
        assert created == _KEYED.predict(new)
        again = {**new, **ids.new_row()}
        kept: Any = await statements.one(_KEYED, **again, **key_arguments(key, b"", "another answer"))
        assert kept == Kept(fingerprint=fingerprint, answer=user)

    async def _run(self, statements: Executor, statement: Statement[Any], user: str, **values: Any) -> bool:
        """Run a statement. Returns whether it returns this user's row as it was written."""
        new = {**ids.new_row(), "completed": False}
        known = {name: new[name] for name in statement.names & new.keys()}
        [row] = await statements.all(statement, **{**known, **values}, owner=user)
        # A change drops the column, and so its values.
        right = {"user_id": user, "id": self._ids[user], "title": user, "description": row.description}
        found = row.model_dump()
        return right.items() <= found.items() and row.description in (user, None) and isinstance(row.completed, bool)


async def test_several_workers_get_what_is_theirs_from_sessions_of_before_and_after_a_change(
    request: pytest.FixtureRequest, url: str, database_url: str, connection: asyncpg.Connection
) -> None:
    """Behind a pooler, a statement from before a change can run in a session that prepares it after the change."""
    if request.config.option.partitioned:
        pytest.skip("the changes are for tables that are not partitioned")
    workers = [_Worker(url, "one"), _Worker(url, "other")]
    async with workers[0].database, workers[1].database:
        for worker in workers:
            await worker.make_rows()
        for change in (*MORE_CHANGES, *CHANGES):
            for worker in workers:
                await worker.use_one_after_the_other()
            await connection.execute(change)
            all_have_begun = asyncio.Barrier(len(workers) * USERS)
            await asyncio.gather(*(worker.use_at_once(all_have_begun) for worker in workers))
            if url != database_url:
                pooler: Pooler = request.getfixturevalue(request.node.callspec.params["url"])
                await pooler.renew_sessions(database_url)

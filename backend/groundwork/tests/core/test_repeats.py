"""A statement that the server rolled back because of others is run again, and the caller does not notice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from pydantic import BaseModel
from sqlalchemy import Column, MetaData, String, Table, bindparam, column, insert, select, table, update
from sqlalchemy.dialects.postgresql import DOMAIN, ENUM

from groundwork.data.database import Database, Executor
from groundwork.data.known_tables import public
from groundwork.data.statement import Statement
from groundwork.errors import NotFound, Unavailable
from groundwork.tests.core import database_at, eventually, set_default
from groundwork.tests.core.test_database import (
    ADD,
    FAIL,
    PREPARATION,
    RAISE,
    SLEEP,
    Value,
    count,
    counters,
    has_ended,
    pid,
    sleeps,
)


class AnyValue(BaseModel):
    value: Any


LEVELS = ["repeatable read", "serializable"]
CLIENTS, TURNS = 8, 10
# Sequences are not rolled back, so this one counts attempts.
COUNTED_FAILURE = """
    CREATE SEQUENCE attempts;
    CREATE OR REPLACE FUNCTION fail(state text) RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN PERFORM nextval('attempts'); RAISE EXCEPTION USING ERRCODE = state; END $$;
"""
SET: Statement[Any] = Statement(
    update(counters).where(counters.c.name == bindparam("name")).values(value=bindparam("value"))
)
ONE = Statement(select(counters.c.value).where(counters.c.name == bindparam("name")), returns=Value)
Run = Callable[[Database, Statement[Any], dict[str, Any]], Awaitable[Any]]


async def alone(database: Database, statement: Statement[Any], values: dict[str, Any]) -> Any:
    return await database.execute(statement, **values)


async def in_transaction(database: Database, statement: Statement[Any], values: dict[str, Any]) -> Any:
    return await database.run_in_transaction(lambda statements: statements.execute(statement, **values))


each_way = pytest.mark.parametrize("run", [alone, in_transaction])


@pytest.fixture
async def prepared(connection: asyncpg.Connection) -> None:
    await connection.execute(PREPARATION)
    await connection.execute(COUNTED_FAILURE)


@pytest.fixture
async def database(service_url: str, prepared: None) -> AsyncIterator[Database]:
    async with database_at(service_url) as database:
        yield database


async def attempts(connection: asyncpg.Connection) -> Any:
    return await connection.fetchval("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM attempts")


async def value_of(executor: Executor, name: str) -> int:
    row = await executor.one(ONE, name=name)
    assert row
    return row.value


async def values(connection: asyncpg.Connection) -> dict[str, int]:
    return {row["name"]: row["value"] for row in await connection.fetch("SELECT name, value FROM counters")}


class TestCollisions:
    @pytest.fixture(params=LEVELS)
    async def strict(
        self, request: pytest.FixtureRequest, service_url: str, prepared: None, connection: asyncpg.Connection
    ) -> AsyncIterator[Database]:
        """A database on which every transaction has this isolation level."""
        await set_default(connection, "default_transaction_isolation", request.param)
        async with database_at(service_url, pool_size=CLIENTS) as database:
            yield database

    @each_way
    async def test_every_write_to_one_row_counts_once(
        self, strict: Database, connection: asyncpg.Connection, run: Run
    ) -> None:
        await strict.execute(ADD, name="a", value=0)

        async def client() -> list[int]:
            return [await run(strict, RAISE, {"name": "a"}) for _ in range(TURNS)]

        answers = await asyncio.gather(*(client() for _ in range(CLIENTS)))
        assert answers == [[1] * TURNS] * CLIENTS
        assert await connection.fetchval("SELECT value FROM counters") == CLIENTS * TURNS

    async def test_a_transaction_that_reads_and_then_writes_loses_nothing(
        self, strict: Database, connection: asyncpg.Connection
    ) -> None:
        await strict.execute(ADD, name="a", value=0)

        async def add_one(statements: Executor) -> None:
            await statements.execute(SET, name="a", value=await value_of(statements, "a") + 1)

        async def client() -> None:
            for _ in range(TURNS):
                await strict.run_in_transaction(add_one)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        assert await connection.fetchval("SELECT value FROM counters") == CLIENTS * TURNS

    async def test_one_that_collides_when_it_commits_is_run_again(
        self, service_url: str, prepared: None, connection: asyncpg.Connection
    ) -> None:
        """Two transactions each read what the other writes, so that no serial order explains both results."""
        await set_default(connection, "default_transaction_isolation", "serializable")
        await connection.execute("INSERT INTO counters VALUES ('a', 10), ('b', 20)")
        both_have_read, readers, runs = asyncio.Event(), 0, 0

        async def copy(statements: Executor, of: str, to: str) -> None:
            nonlocal readers, runs
            runs += 1
            read = await value_of(statements, of)
            readers += 1
            if readers == 2:
                both_have_read.set()
            await both_have_read.wait()
            await statements.execute(SET, name=to, value=read + 1)

        async with database_at(service_url) as database:
            await asyncio.gather(
                database.run_in_transaction(lambda statements: copy(statements, "a", "b")),
                database.run_in_transaction(lambda statements: copy(statements, "b", "a")),
            )
        assert runs > 2
        assert await values(connection) in ({"a": 12, "b": 11}, {"a": 21, "b": 22})

    async def test_a_deadlock_is_run_again(
        self, service_url: str, prepared: None, connection: asyncpg.Connection
    ) -> None:
        await set_default(connection, "deadlock_timeout", "10ms")
        await connection.execute("INSERT INTO counters VALUES ('a', 10), ('b', 20)")
        both_have_locked, holders = asyncio.Event(), 0

        async def raise_both(statements: Executor, first: str, second: str) -> None:
            nonlocal holders
            await statements.execute(RAISE, name=first)
            holders += 1
            if holders == 2:
                both_have_locked.set()
            await both_have_locked.wait()
            await statements.execute(RAISE, name=second)

        async with database_at(service_url) as database:
            await asyncio.gather(
                database.run_in_transaction(lambda statements: raise_both(statements, "a", "b")),
                database.run_in_transaction(lambda statements: raise_both(statements, "b", "a")),
            )
        assert holders > 2
        assert await values(connection) == {"a": 12, "b": 22}

    async def test_a_block_cannot_be_run_again_and_is_unavailable(
        self, strict: Database, connection: asyncpg.Connection
    ) -> None:
        await strict.execute(ADD, name="a", value=0)
        with pytest.raises(Unavailable) as caught:  # noqa: PT012 - the block is the transaction
            async with strict.transaction() as transaction:
                await value_of(transaction, "a")
                await connection.execute("UPDATE counters SET value = 5")
                await transaction.execute(RAISE, name="a")
        assert isinstance(caught.value.__cause__, asyncpg.SerializationError)
        assert await connection.fetchval("SELECT value FROM counters") == 5


class TestBounds:
    @pytest.fixture
    async def hurried(self, service_url: str, prepared: None) -> AsyncIterator[Database]:
        """A database with half a second for each request."""
        async with database_at(service_url, wait_seconds=0.25, statement_seconds=0.25) as database:
            yield database

    @pytest.mark.parametrize("state", ["40001", "40P01", "26000", "42P05"])
    @each_way
    async def test_what_collides_for_ever_is_unavailable_in_the_end(
        self, hurried: Database, connection: asyncpg.Connection, state: str, run: Run
    ) -> None:
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable) as caught:
                await run(hurried, FAIL, {"state": state})
        assert isinstance(caught.value.__cause__, asyncpg.PostgresError)
        assert caught.value.__cause__.sqlstate == state
        # The pauses grow. Without pauses there would be about a thousand attempts.
        assert 2 <= await attempts(connection) <= 100

    @pytest.mark.parametrize("state", ["55P03", "57014", "25006", "53100", "22012", "23505", "P0001", "40003", "08006"])
    @each_way
    async def test_any_other_error_is_not_run_again(
        self, database: Database, connection: asyncpg.Connection, state: str, run: Run
    ) -> None:
        with pytest.raises((Unavailable, asyncpg.PostgresError)):
            await run(database, FAIL, {"state": state})
        assert await attempts(connection) == 1

    @each_way
    async def test_an_internal_error_is_run_again_once(
        self, database: Database, connection: asyncpg.Connection, run: Run
    ) -> None:
        """Its cause may be a statement that was prepared for a dropped type, or a defect."""
        with pytest.raises(asyncpg.InternalServerError):
            await run(database, FAIL, {"state": "XX000"})
        assert await attempts(connection) == 2

    @pytest.mark.parametrize("own", [NotFound("own"), ValueError("own"), TimeoutError("own")], ids=repr)
    async def test_an_error_of_the_works_own_is_not_run_again(self, database: Database, own: Exception) -> None:
        runs = 0

        async def work(statements: Executor) -> None:
            nonlocal runs
            runs += 1
            await statements.execute(ADD, name="a", value=1)
            raise own

        with pytest.raises(type(own)) as caught:
            await database.run_in_transaction(work)
        assert caught.value is own
        assert runs == 1
        assert await count(database) == 0

    async def test_an_error_of_the_works_own_at_its_second_run_comes_out(self, database: Database) -> None:
        own, runs = TimeoutError("own"), 0

        async def work(statements: Executor) -> None:
            nonlocal runs
            runs += 1
            if runs == 2:
                raise own
            await statements.execute(FAIL, state="40001")

        with pytest.raises(TimeoutError) as caught:
            await database.run_in_transaction(work)
        assert caught.value is own

    async def test_a_swallowed_collision_is_run_again(self, database: Database, connection: asyncpg.Connection) -> None:
        runs = 0

        async def work(statements: Executor) -> int:
            nonlocal runs
            runs += 1
            await statements.execute(ADD, name="a", value=runs)
            if runs == 1:
                with suppress(Unavailable):
                    await statements.execute(FAIL, state="40001")
            return runs

        assert await database.run_in_transaction(work) == 2
        assert await connection.fetchval("SELECT value FROM counters") == 2


class TestSwallowedFailures:
    """PostgreSQL answers the COMMIT of a failed transaction with ROLLBACK and no error."""

    async def test_a_statement_that_the_block_gave_up_fails_the_transaction(
        self, database: Database, connection: asyncpg.Connection
    ) -> None:
        with pytest.raises(Unavailable):  # noqa: PT012 - the block is the transaction
            async with database.transaction() as transaction:
                await transaction.execute(ADD, name="a", value=1)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await transaction.execute(SLEEP, seconds=600)
        await eventually(lambda: has_ended(connection))
        assert await count(database) == 0

    async def test_a_swallowed_cancellation_fails_it_too(
        self, database: Database, connection: asyncpg.Connection
    ) -> None:
        async def work() -> None:
            async with database.transaction() as transaction:
                await transaction.execute(ADD, name="a", value=1)
                with suppress(asyncio.CancelledError):
                    await transaction.execute(SLEEP, seconds=600)

        task = asyncio.create_task(work())
        await eventually(lambda: sleeps(connection))
        task.cancel()
        with pytest.raises(Unavailable):
            await task
        assert await count(database) == 0

    async def test_later_statements_fail_as_the_first_did(self, database: Database) -> None:
        """It does not fail with PostgreSQL's 25P02, which would look like a defect."""
        with pytest.raises(Unavailable):  # noqa: PT012 - the block is the transaction
            async with database.transaction() as transaction:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await transaction.execute(SLEEP, seconds=600)
                await transaction.execute(ADD, name="a", value=1)
        assert await count(database) == 0

    async def test_a_statement_given_up_after_it_took_effect_is_undone(
        self, database: Database, connection: asyncpg.Connection
    ) -> None:
        """It is unknown whether the server ran the statement, so the rest of the block must not depend on it."""
        with pytest.raises(Unavailable):  # noqa: PT012 - the block is the transaction
            async with database.transaction() as transaction:
                await pid(transaction)
                adding = asyncio.create_task(transaction.execute(ADD, name="a", value=1))
                await asyncio.sleep(0)
                adding.cancel()
                with suppress(asyncio.CancelledError):
                    await adding
        assert await count(database) == 0


class TestChangedSchema:
    MOODS = (
        "CREATE TYPE mood AS ENUM ('good'); CREATE TABLE moods (value mood)",
        "ALTER TYPE mood RENAME TO old_mood; CREATE TYPE mood AS ENUM ('good', 'bad');"
        " ALTER TABLE moods ALTER value TYPE mood USING value::text::mood; DROP TYPE old_mood",
    )
    DOMAINS = (
        "CREATE DOMAIN mood AS text; CREATE TABLE moods (value mood)",
        "ALTER TABLE moods ALTER value TYPE text; DROP DOMAIN mood; CREATE DOMAIN mood AS varchar;"
        " ALTER TABLE moods ALTER value TYPE mood",
    )

    @pytest.mark.parametrize(
        ("type_", "before", "change"),
        [(ENUM("good", name="mood"), *MOODS), (DOMAIN("mood", String), *DOMAINS)],
        ids=["enum", "domain"],
    )
    @each_way
    async def test_a_type_that_was_made_again_is_seen_by_every_connection(
        self, database: Database, connection: asyncpg.Connection, type_: Any, before: str, change: str, run: Run
    ) -> None:
        await connection.execute(before)
        moods = public(Table("moods", MetaData(), Column("value", type_)), reason="It is this test's.")
        write: Statement[Any] = Statement(insert(moods).values(value=bindparam("value")).returning(moods.c.value))
        for _ in range(2):
            await asyncio.gather(*(run(database, write, {"value": "good"}) for _ in range(20)))
            await connection.execute(change)
        await asyncio.gather(*(run(database, write, {"value": "good"}) for _ in range(20)))
        assert await connection.fetchval("SELECT count(*) FROM moods") == 60

    async def test_a_composite_type_that_has_changed_is_read_by_every_connection(
        self, database: Database, connection: asyncpg.Connection
    ) -> None:
        await connection.execute("CREATE TYPE pair AS (a int); CREATE TABLE pairs AS SELECT ROW(1)::pair AS value")
        pairs = public(table("pairs", column("value")), reason="It is this test's.")
        read = Statement(select(pairs.c.value), returns=AnyValue)
        await asyncio.gather(*(database.one(read) for _ in range(20)))
        await connection.execute("ALTER TYPE pair ADD ATTRIBUTE b text")
        rows = await asyncio.gather(*(database.one(read) for _ in range(20)))
        assert [dict(row.value) for row in rows if row] == [{"a": 1, "b": None}] * 20

    async def test_a_new_type_of_a_column_is_seen_in_the_middle_of_a_transaction(
        self, database: Database, connection: asyncpg.Connection
    ) -> None:
        async def work(statements: Executor) -> tuple[int, int]:
            await statements.execute(ADD, name="a", value=1)
            return (await value_of(statements, "a")), await count(statements)

        assert await database.run_in_transaction(work) == (1, 1)
        await connection.execute("DELETE FROM counters; ALTER TABLE counters ALTER value TYPE bigint")
        assert await database.run_in_transaction(work) == (1, 1)

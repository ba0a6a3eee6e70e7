"""Statements that stay prepared behind a pooler that tracks them: what can go wrong, and which are not kept."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import asyncpg
import pytest
from pydantic import create_model
from sqlalchemy import (
    Boolean,
    Column,
    Enum,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    column,
    func,
    insert,
    select,
    table,
    update,
)

from groundwork.data.address import AddressKind, address_kind
from groundwork.data.database import Database, Executor
from groundwork.data.kept_texts import KeptTexts, kept_texts
from groundwork.data.known_tables import public
from groundwork.data.prepared_statements import NamingConnection, TrackedConnection, require_calls
from groundwork.data.statement import Statement
from groundwork.errors import Unavailable
from groundwork.testing import postgres
from groundwork.tests.core import BOTH_WAYS, database_at
from groundwork.tests.pooler import MISSING_TRACKING, Pooler, is_installed, running_pooler
from groundwork.tests.round_trips import CountingProxy

SIZE = 4
PREPARATION = """
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TABLE samples (number integer, name varchar(10), done boolean, mood mood);
    INSERT INTO samples VALUES (7, 'seven', true, 'good')
"""
metadata = MetaData()
samples = public(
    Table(
        "samples",
        metadata,
        Column("number", Integer),
        Column("name", String(10)),
        Column("done", Boolean),
        Column("mood", Enum("good", "bad", name="mood")),
    ),
    reason="Of these tests.",
)
untyped = public(table("samples", column("number")), reason="Of these tests.")
Value = create_model("Value", value=(Any, ...))
NUMBER = Statement(select(samples.c.number.label("value")), returns=Value)
UNTYPED = Statement(select(untyped.c.number.label("value")).where(untyped.c.number.is_not(None)), returns=Value)
NAME = Statement(select(samples.c.name.label("value")), returns=Value)
RENAME = Statement(
    update(samples).values(name=bindparam("name")).returning(samples.c.name.label("value")), returns=Value
)
SET: Statement[Any] = Statement(update(samples).values(number=bindparam("number")))
IN_MOOD = Statement(
    select(samples.c.name.label("value")).where(samples.c.mood == bindparam("mood", type_=samples.c.mood.type)),
    returns=Value,
)


@pytest.fixture(params=BOTH_WAYS)
async def database(
    request: pytest.FixtureRequest, tracking_pooler: Pooler, database_url: str, connection: asyncpg.Connection
) -> AsyncIterator[Database]:
    await connection.execute(PREPARATION)
    async with database_at(tracking_pooler.url(database_url), pool_size=SIZE, kind=request.param) as database:
        yield database


async def on_each_connection(database: Database, statement: Statement[Any], **values: Any) -> list[Any]:
    """The statement's results on each connection, one after the other. A pooler uses one session for all of them."""
    return await act_on_each(database, lambda: value(database, statement, **values))


async def act_on_each(database: Database, act: Callable[[], Awaitable[Any]]) -> list[Any]:
    pool = database._pool
    connections = [await pool.acquire() for _ in range(SIZE)]
    found = []
    for place, connection in enumerate(connections):
        pool.release(connection)
        found.append(await act())
        connections[place] = await pool.acquire()
    for connection in connections:
        pool.release(connection)
    return found


async def in_sessions_of_their_own(database: Database, statement: Statement[Any], **values: Any) -> list[Any]:
    """The statement's results on each connection, while each has a session of its own."""
    all_have_begun = asyncio.Barrier(SIZE)

    async def one() -> Any:
        attempts = 0

        async def work(statements: Executor) -> Any:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                await all_have_begun.wait()
            return await value(statements, statement, **values)

        return await database.run_in_transaction(work)

    return await asyncio.gather(*(one() for _ in range(SIZE)), return_exceptions=True)


async def value(statements: Executor, statement: Statement[Any], **values: Any) -> Any:
    row = await statements.one(statement, **values)
    return row.model_dump()["value"] if row else None


async def refused(database: Database, statement: Statement[Any]) -> list[str]:
    """The SQLSTATEs of the errors on each connection."""
    return [error.sqlstate for error in await in_sessions_of_their_own(database, statement)]


class TestChangesOfTypes:
    @pytest.mark.parametrize("statement", [NUMBER, UNTYPED], ids=["of a known type", "of no known type"])
    async def test_a_number_stays_what_it_is(
        self,
        database: Database,
        connection: asyncpg.Connection,
        tracking_pooler: Pooler,
        database_url: str,
        statement: Statement[Any],
    ) -> None:
        """The bytes of a REAL 7 are those of the INTEGER 1088421888."""
        for type_ in ("real", "integer", "bigint", "double precision", "smallint", "numeric", "integer"):
            assert {float(each) for each in await on_each_connection(database, statement)} == {7}
            await connection.execute(f"ALTER TABLE samples ALTER number TYPE {type_} USING number::{type_}")
            assert {float(each) for each in await in_sessions_of_their_own(database, statement)} == {7}
            assert {float(each) for each in await on_each_connection(database, statement)} == {7}
            await tracking_pooler.renew_sessions(database_url)

    async def test_what_the_model_cannot_hold_is_refused(
        self, database: Database, connection: asyncpg.Connection
    ) -> None:
        assert await on_each_connection(database, NUMBER) == [7] * SIZE
        await connection.execute("ALTER TABLE samples ALTER number TYPE real USING 7.5")
        assert await refused(database, NUMBER) == ["22P02"] * SIZE
        await connection.execute("ALTER TABLE samples ALTER number TYPE text USING 'many'")
        assert await refused(database, NUMBER) == ["22P02"] * SIZE
        await connection.execute("ALTER TABLE samples ALTER number TYPE integer USING 8")
        assert await in_sessions_of_their_own(database, NUMBER) == [8] * SIZE

    async def test_what_is_written_is_what_was_meant(
        self, database: Database, connection: asyncpg.Connection, tracking_pooler: Pooler, database_url: str
    ) -> None:
        for number, type_ in enumerate(("real", "text", "bigint", "double precision", "integer", "varchar(10)")):
            assert await act_on_each(database, partial(database.execute, SET, number=number)) == [1] * SIZE
            await connection.execute(f"ALTER TABLE samples ALTER number TYPE {type_} USING number::{type_}")
            await tracking_pooler.renew_sessions(database_url)
            await asyncio.gather(*(database.execute(SET, number=number + 1) for _ in range(3 * SIZE)))
            assert float(await connection.fetchval("SELECT number FROM samples")) == number + 1

    async def test_a_longer_text_is_whole(self, database: Database, connection: asyncpg.Connection) -> None:
        assert await on_each_connection(database, RENAME, name="x") == ["x"] * SIZE
        for type_ in ("varchar(50)", "text", "char(50)", "varchar(50)"):
            await connection.execute(f"ALTER TABLE samples ALTER name TYPE {type_}")
            assert await on_each_connection(database, RENAME, name="y" * 50) == ["y" * 50] * SIZE
            assert await in_sessions_of_their_own(database, NAME) == ["y" * 50] * SIZE


class TestOutdated:
    async def test_a_new_collation_is_followed(self, database: Database, connection: asyncpg.Connection) -> None:
        """PostgreSQL refuses the kept statement. The pooler, which knows it by its text, would go on running it."""
        generation = kept_texts.generation
        for collation in ("C", "POSIX", "C"):
            assert await on_each_connection(database, NAME) == ["seven"] * SIZE
            await connection.execute(f'ALTER TABLE samples ALTER name TYPE varchar(10) COLLATE "{collation}"')
            assert await on_each_connection(database, NAME) == ["seven"] * SIZE
        assert generation < kept_texts.generation <= generation + 3 * SIZE

    @pytest.mark.parametrize("command", ["DEALLOCATE ALL", "DISCARD ALL", "DISCARD PLANS"])
    async def test_what_another_client_discards_is_prepared_again(
        self, database: Database, tracking_pooler: Pooler, database_url: str, command: str
    ) -> None:
        assert await on_each_connection(database, NAME) == ["seven"] * SIZE
        other = await asyncpg.connect(tracking_pooler.url(database_url), statement_cache_size=0)
        await other.execute(command)
        await other.close()
        assert await on_each_connection(database, NAME) == ["seven"] * SIZE
        assert await in_sessions_of_their_own(database, NAME) == ["seven"] * SIZE

    async def test_what_the_pooler_does_not_know_to_be_gone_gets_a_new_text(
        self, database: Database, tracking_pooler: Pooler, database_url: str
    ) -> None:
        assert await on_each_connection(database, NAME) == ["seven"] * SIZE
        generation = kept_texts.generation
        other = await asyncpg.connect(tracking_pooler.url(database_url), statement_cache_size=0)
        await other.execute(
            "DO $$ DECLARE name text; BEGIN FOR name IN SELECT p.name FROM pg_prepared_statements p LOOP"
            " EXECUTE format('DEALLOCATE %I', name); END LOOP; END $$"
        )
        await other.close()
        assert await on_each_connection(database, NAME) == ["seven"] * SIZE
        assert kept_texts.generation > generation


class TestConfigurations:
    @pytest.fixture
    def serving(self, postgres_server: postgres.Server) -> Callable[..., Any]:
        if not is_installed(tracking=True):
            pytest.skip(MISSING_TRACKING)
        server = postgres_server.url(postgres.TEMPLATE)
        return lambda **settings: running_pooler(server, tracking=True, **settings)

    @pytest.mark.parametrize(
        ("settings", "kind"),
        [
            ({"server_reset_query_always": 1}, AddressKind.TRACKING_POOLER),
            ({"max_prepared_statements": 1}, AddressKind.TRACKING_POOLER),
            ({"max_prepared_statements": 0}, AddressKind.TRANSACTION_POOLER),
        ],
        ids=str,
    )
    async def test_every_one_serves(
        self,
        serving: Callable[..., Any],
        database_url: str,
        connection: asyncpg.Connection,
        settings: dict[str, int],
        kind: AddressKind,
    ) -> None:
        await connection.execute(PREPARATION)
        with serving(**settings) as pooler:
            asked = await asyncpg.connect(pooler.url(database_url))
            assert await address_kind(asked) is kind
            await asked.close()
            async with database_at(pooler.url(database_url), pool_size=SIZE) as database:
                for _ in range(3):
                    assert await on_each_connection(database, NAME) == ["seven"] * SIZE
                    assert await on_each_connection(database, NUMBER) == [7] * SIZE
                    assert await in_sessions_of_their_own(database, NAME) == ["seven"] * SIZE

    async def test_a_pooler_that_ceases_to_track_is_noticed(
        self, serving: Callable[..., Any], database_url: str, connection: asyncpg.Connection
    ) -> None:
        await connection.execute(PREPARATION)
        with serving() as pooler:
            async with database_at(pooler.url(database_url), pool_size=SIZE) as database:
                assert await on_each_connection(database, NAME) == ["seven"] * SIZE
                pooler.set(max_prepared_statements=0)
                for _ in range(20):
                    names = await asyncio.gather(*(value(database, NAME) for _ in range(10 * SIZE)))
                    assert set(names) == {"seven"}


class TestTheQuestion:
    @pytest.mark.parametrize(
        ("address", "kind", "round_trips"),
        [
            ("direct", AddressKind.SERVER, 1),
            ("pooler", AddressKind.TRANSACTION_POOLER, 5),
            ("tracking_pooler", AddressKind.TRACKING_POOLER, 5),
        ],
    )
    async def test_costs_little_and_leaves_nothing(
        self, request: pytest.FixtureRequest, database_url: str, address: str, kind: AddressKind, round_trips: int
    ) -> None:
        url = database_url if address == "direct" else request.getfixturevalue(address).url(database_url)
        proxy = CountingProxy(url)
        async with proxy.serving():
            connection = await asyncpg.connect(proxy.url, connection_class=NamingConnection)
            assert await address_kind(connection) is kind
            assert proxy.round_trips == round_trips
            # Nothing of it is closed during the next statement. A statement is first described, then run.
            await connection.fetchval("SELECT 'next'")
            assert proxy.round_trips == round_trips + 2
            left = await connection.fetch("SELECT name FROM pg_prepared_statements WHERE statement LIKE '%tracked%'")
            assert [row["name"] for row in left if row["name"].startswith("tracked_")] == []
            await connection.close()

    async def test_is_asked_of_each_connection(self, tracking_pooler: Pooler, database_url: str) -> None:
        async with database_at(tracking_pooler.url(database_url), pool_size=SIZE) as database:
            connections = [await database._pool.acquire() for _ in range(SIZE)]
            assert {type(connection) for connection in connections} == {TrackedConnection}
            for connection in connections:
                database._pool.release(connection)


class TestWhatIsKept:
    async def test_a_statement_with_a_type_of_the_databases_own_is_right_and_not_kept(
        self, database: Database, connection: asyncpg.Connection
    ) -> None:
        assert kept_texts.of(IN_MOOD.sql) is None
        assert await on_each_connection(database, IN_MOOD, mood="good") == ["seven"] * SIZE
        await connection.execute(
            "ALTER TABLE samples ALTER mood TYPE text; DROP TYPE mood; CREATE TYPE mood AS ENUM ('bad', 'good');"
            " ALTER TABLE samples ALTER mood TYPE mood USING mood::mood"
        )
        assert await in_sessions_of_their_own(database, IN_MOOD, mood="good") == ["seven"] * SIZE
        assert await on_each_connection(database, IN_MOOD, mood="bad") == [None] * SIZE

    async def test_a_statement_that_is_too_long_to_be_kept_is_right(
        self, database: Database, connection: asyncpg.Connection
    ) -> None:
        long = Statement(
            select(samples.c.name.label("value")).where(*(samples.c.number != number for number in range(1000, 1500))),
            returns=Value,
        )
        assert len(kept_texts.of(long.sql) or "") > 15 * 1024
        for collation in ("C", "POSIX"):
            assert await on_each_connection(database, long) == ["seven"] * SIZE
            assert await in_sessions_of_their_own(database, long) == ["seven"] * SIZE
            await connection.execute(f'ALTER TABLE samples ALTER name TYPE text COLLATE "{collation}"')

    @pytest.mark.parametrize(
        "statement",
        [
            select(untyped.c.number),
            select(samples.c.name).distinct(),
            select(samples.c.name).union(select(samples.c.name)),
            select(func.sum(samples.c.number).label("sum")),
            select(samples.c.name).where(samples.c.mood == bindparam("mood", type_=samples.c.mood.type)),
            insert(samples).values(mood=bindparam("mood")),
        ],
        ids=["no type", "distinct", "union", "computed number", "enumeration", "written enumeration"],
    )
    def test_these_have_no_text(self, statement: Any) -> None:
        assert kept_texts.of(Statement(statement).sql) is None

    def test_a_new_generation_is_begun_once(self) -> None:
        texts = KeptTexts()
        texts.add("a", lambda: "A")
        assert texts.of("a") == "A"
        for _ in range(3):
            texts.renew(0)
        assert (texts.generation, texts.of("a"), texts.of("b")) == (1, "A /* 1 */", None)
        texts.renew(1)
        assert texts.of("a") == "A /* 2 */"

    def test_two_meanings_of_one_text(self) -> None:
        texts = KeptTexts()
        texts.add("a", lambda: "A")
        texts.add("a", lambda: "A")
        assert texts.of("a") == "A"
        texts.add("a", lambda: "B")
        assert texts.of("a") is None


@pytest.mark.parametrize("is_there", [True, False])
def test_an_asyncpg_that_prepares_elsewhere_stops_the_start(monkeypatch: pytest.MonkeyPatch, *, is_there: bool) -> None:
    require_calls()
    if is_there:
        monkeypatch.setattr(asyncpg.Connection, "_do_execute", lambda self, query: None)
    else:
        monkeypatch.delattr(asyncpg.Connection, "_do_execute")
    with pytest.raises(RuntimeError, match="prepares statements in a new way"):
        require_calls()


async def test_a_block_that_meets_an_outdated_statement_is_unavailable_once(
    tracking_pooler: Pooler, database_url: str, connection: asyncpg.Connection
) -> None:
    await connection.execute(PREPARATION)
    async with database_at(tracking_pooler.url(database_url), pool_size=1) as database:
        assert await value(database, NAME) == "seven"
        await connection.execute('ALTER TABLE samples ALTER name TYPE varchar(10) COLLATE "C"')
        with pytest.raises(Unavailable):
            async with database.transaction() as transaction:
                await value(transaction, NAME)
        async with database.transaction() as transaction:
            assert await value(transaction, NAME) == "seven"

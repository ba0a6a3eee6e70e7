"""Connections to an address that leads to PostgreSQL itself at one time and to a pooler at another."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import BaseModel
from sqlalchemy import bindparam, column, delete, select, table

from groundwork.data.database import Database, Executor
from groundwork.data.known_tables import public
from groundwork.data.prepared_statements import NamingConnection, require_calls
from groundwork.data.statement import Statement
from groundwork.errors import Unavailable
from groundwork.testing.statements import on_each_statement
from groundwork.tests.core import database_at, eventually, session_count
from groundwork.tests.core.test_database import ADD, COUNT, PREPARATION, RAISE, count, counters
from groundwork.tests.core.test_kept_connections import CountingConnector
from groundwork.tests.faults.proxy import Proxy
from groundwork.tests.pooler import Pooler

SIZE = 3


class Name(BaseModel):
    name: str


PREPARED = public(table("pg_prepared_statements"), reason="PostgreSQL's: what the session has prepared.")
NAMES = Statement(
    select(column("name"))
    .select_from(public(table("pg_prepared_statements"), reason="It holds no rows of users."))
    .where(column("name") != bindparam("other")),
    returns=Name,
)
DELETE: Statement[Any] = Statement(delete(counters).where(counters.c.name == bindparam("name")))


class TestSwitch:
    @pytest.fixture
    async def relay(self, database_url: str, connection: asyncpg.Connection) -> AsyncIterator[Proxy]:
        """A relay that leads to PostgreSQL itself until the test turns it to the pooler."""
        await connection.execute(PREPARATION)
        async with Proxy(port_of(database_url)).serving() as relay:
            yield relay

    @pytest.fixture
    async def database(self, database_url: str, relay: Proxy) -> AsyncIterator[Database]:
        async with database_at(through(relay, database_url), pool_size=SIZE) as database:
            yield database

    @pytest.mark.usefixtures("one_attempt_at_a_time")
    async def test_old_connections_keep_their_statements_and_new_ones_keep_none(
        self, database: Database, relay: Proxy, pooler: Pooler, database_url: str
    ) -> None:
        direct, pooled = port_of(database_url), port_of(pooler.url(database_url))
        async with database.transaction() as old:
            assert len(await old.all(NAMES, other="")) == 1
            relay.target_port = pooled
            async with database.transaction() as new:
                assert [await new.all(NAMES, other="") for _ in range(2)] == [[], []]
                relay.target_port = direct
                async with database.transaction() as newest:
                    assert len(await newest.all(NAMES, other="")) == 1
                    assert await new.all(NAMES, other="") == []
                    assert len(await old.all(NAMES, other="")) == 1
        # Now all of them at once, twice.
        for number in range(50):
            added = await asyncio.gather(
                *(database.execute(ADD, name=f"{number} {n}", value=None) for n in range(SIZE))
            )
            assert added == [1] * SIZE
        assert await count(database) == 50 * SIZE

    @pytest.mark.parametrize("first", ["direct", "pooled"])
    async def test_several_processes_do_not_run_each_others_statements(
        self,
        relay: Proxy,
        pooler: Pooler,
        database_url: str,
        connection: asyncpg.Connection,
        first: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Two databases that use the same statements in a different order, each on several connections."""
        ports = [port_of(database_url), port_of(pooler.url(database_url))]
        url = through(relay, database_url)
        async with database_at(url, pool_size=SIZE) as one, database_at(url, pool_size=SIZE) as other:
            for port in ports if first == "direct" else reversed(ports):
                relay.target_port = port
                relay.cut()
                await eventually(relay.is_idle)
                await connection.execute("DELETE FROM counters; INSERT INTO counters VALUES ('a', 0)")
                monkeypatch.setattr("asyncpg.connection._uid", 0)
                await asyncio.gather(
                    *(count(one) for _ in range(SIZE)), *(one.execute(RAISE, name="a") for _ in range(20))
                )
                monkeypatch.setattr("asyncpg.connection._uid", 0)
                await asyncio.gather(*(other.execute(DELETE, name="nobody") for _ in range(SIZE)))
                counted = await asyncio.gather(*(database.one(COUNT) for _ in range(20) for database in (one, other)))
                assert {row.count for row in counted if row} == {1}
                assert await connection.fetchval("SELECT value FROM counters") == 20

    async def test_a_pooler_in_the_way_costs_one_question_for_each_connection(
        self, relay: Proxy, pooler: Pooler, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Any] = []
        on_each_statement(monkeypatch, asked.append)
        relay.target_port = port_of(pooler.url(database_url))
        connector = CountingConnector(through(relay, database_url))
        for _ in range(3):
            connection = await connector()
            await connection.close()
        # The first connection is opened twice, because the kind of the address is not known yet.
        assert relay.attempts == 4
        # Each asks where its session is, begins a transaction, asks what the pooler has prepared in it, and ends it.
        assert len(asked) == 4 * 4


class TestLostStatements:
    """A session without the statements that the connection has prepared answers 26000 before anything runs."""

    @pytest.fixture
    async def connector(self, database_url: str, connection: asyncpg.Connection) -> CountingConnector:
        await connection.execute(PREPARATION)
        return CountingConnector(database_url)

    @pytest.fixture
    async def database(self, connector: CountingConnector) -> AsyncIterator[Database]:
        """A database whose connections have prepared statements that their sessions have lost."""
        database = Database(connector, pool_size=SIZE, wait_seconds=10, queue_seconds=10, statement_seconds=10)
        async with database:
            connections = [await database._pool.acquire() for _ in range(SIZE)]
            for each in connections:
                await each.fetch(COUNT.sql)
                await each.execute(ADD.sql, f"first {each.get_server_pid()}", None)
                await each.execute("DEALLOCATE ALL")
                database._pool.release(each)
            yield database

    async def test_a_read_is_run_on_another_connection(
        self, database: Database, connection: asyncpg.Connection
    ) -> None:
        assert await count(database) == SIZE
        await eventually(lambda: is_one_less(connection))

    async def test_a_write_is_run_once(self, database: Database, connector: CountingConnector) -> None:
        added = await asyncio.gather(*(database.execute(ADD, name=str(number), value=None) for number in range(20)))
        assert added == [1] * 20
        assert await count(database) == SIZE + 20
        assert connector.opened > SIZE, "the new ones have been asked"

    async def test_a_transaction_is_run_again(self, database: Database, connection: asyncpg.Connection) -> None:
        async def work(statements: Executor) -> int:
            await statements.execute(ADD, name="a", value=None)
            return await count(statements)

        assert await database.run_in_transaction(work) == SIZE + 1
        await eventually(lambda: is_one_less(connection))

    async def test_a_block_is_unavailable_and_its_connection_is_not_kept(
        self, database: Database, connection: asyncpg.Connection
    ) -> None:
        with pytest.raises(Unavailable):
            async with database.transaction() as transaction:
                await transaction.execute(ADD, name="a", value=None)
        assert await count(database) == SIZE
        await eventually(lambda: is_one_less(connection))


async def is_one_less(connection: asyncpg.Connection) -> bool:
    return await session_count(connection) == SIZE - 1


class TestNames:
    async def test_no_two_connections_use_one_name(self, database_url: str) -> None:
        """This includes the connections of two processes. In each of these, asyncpg would count from 1."""
        async with (
            database_at(database_url, pool_size=2) as database,
            database.transaction() as one,
            database.transaction() as other,
        ):
            [first], [second] = await one.all(NAMES, other=""), await other.all(NAMES, other="")
            assert first.name != second.name
            assert not {first.name, second.name} & {f"__asyncpg_stmt_{number:x}__" for number in range(5000)}

    @pytest.mark.parametrize("replacement", [lambda self, query: None, None], ids=["does not ask", "is gone"])
    def test_an_asyncpg_that_names_statements_otherwise_stops_the_start(
        self, monkeypatch: pytest.MonkeyPatch, replacement: Any
    ) -> None:
        require_calls()
        if replacement:
            monkeypatch.setattr(asyncpg.Connection, "_get_statement", replacement)
        else:
            monkeypatch.delattr(asyncpg.Connection, "_get_statement")
        with pytest.raises(RuntimeError, match="names prepared statements in a new way"):
            require_calls()

    async def test_a_statement_really_has_such_a_name(self, database_url: str) -> None:
        connection = await asyncpg.connect(database_url, connection_class=NamingConnection)
        statement = await connection.prepare("SELECT 1")
        assert statement.get_name().startswith("stmt_")
        assert len(statement.get_name()) == len("stmt_") + 16
        await connection.close()


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port


def through(relay: Proxy, url: str) -> str:
    parts = urlsplit(url)
    relayed = parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{relay.port}")
    # Without TLS. Otherwise each attempt would first ask for TLS on a connection of its own.
    return relayed._replace(query="sslmode=disable").geturl()

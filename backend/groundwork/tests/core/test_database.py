"""What errors of a statement mean for the caller of `Database`, for the connection, and for the server's sessions."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import BaseModel
from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable
from sqlmodel import SQLModel

from groundwork.data.database import Database, Executor
from groundwork.data.idempotency_records import IdempotencyRecord
from groundwork.data.known_functions import harmless
from groundwork.data.known_tables import public, public_tables
from groundwork.data.ownership import OWNER_ID
from groundwork.data.statement import Statement
from groundwork.errors import Conflict, NotFound, Unavailable
from groundwork.tests.core import database_at, eventually, session_count

counters = Table(
    "counters",
    MetaData(),
    Column("name", String, primary_key=True),
    Column("value", Integer),
    UniqueConstraint("value", deferrable=True, initially="DEFERRED"),
)
PREPARATION = """
    CREATE TABLE counters (name varchar PRIMARY KEY, value int UNIQUE DEFERRABLE INITIALLY DEFERRED);
    CREATE FUNCTION fail(state text) RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION USING ERRCODE = state; END $$;
"""


class Count(BaseModel):
    count: int


class Pid(BaseModel):
    pid: int


class Value(BaseModel):
    value: int


public(counters, reason="Of these tests.")
harmless("fail", reason="Of these tests.")

ADD: Statement[Any] = Statement(insert(counters).values(name=bindparam("name"), value=bindparam("value")))
RAISE: Statement[Any] = Statement(
    update(counters).where(counters.c.name == bindparam("name")).values(value=counters.c.value + 1)
)
CLEAR: Statement[Any] = Statement(delete(counters))
COUNT = Statement(select(func.count().label("count")).select_from(counters), returns=Count)
PID = Statement(select(func.pg_backend_pid().label("pid")), returns=Pid)
SLEEP: Statement[Any] = Statement(select(func.pg_sleep(bindparam("seconds", type_=Float))))
SLOW_PID = Statement(
    select(func.pg_backend_pid().label("pid")).where(func.pg_sleep(bindparam("seconds", type_=Float)).is_not(None)),
    returns=Pid,
)
DIVIDE = Statement(select((literal(1) / bindparam("by", type_=Integer)).label("value")), returns=Value)
FAIL = Statement(select(func.fail(bindparam("state", type_=String)).label("value")), returns=Value)


@pytest.fixture
async def prepared(connection: asyncpg.Connection) -> None:
    await connection.execute(PREPARATION)


@pytest.fixture
async def database(database_url: str, prepared: None) -> AsyncIterator[Database]:
    async with database_at(database_url) as database:
        yield database


async def pid(executor: Executor) -> int:
    row = await executor.one(PID)
    assert row is not None
    return row.pid


async def count(executor: Executor) -> int:
    row = await executor.one(COUNT)
    assert row is not None
    return row.count


async def sleeping(connection: asyncpg.Connection) -> list[int]:
    """The server processes that run SLEEP."""
    rows = await connection.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND state = 'active' AND query LIKE '%pg_sleep%'"
    )
    return [row["pid"] for row in rows]


async def waits(connection: asyncpg.Connection) -> bool:
    """Whether a statement waits for a table's lock."""
    count = await connection.fetchval(
        "SELECT count(*) FROM pg_locks WHERE relation = 'counters'::regclass AND NOT granted"
    )
    return bool(count)


async def sleeps(connection: asyncpg.Connection) -> bool:
    return bool(await sleeping(connection))


async def has_ended(connection: asyncpg.Connection) -> bool:
    return not await sleeping(connection)


async def is_alone(connection: asyncpg.Connection) -> bool:
    return await session_count(connection) == 0


@asynccontextmanager
async def asleep(connection: asyncpg.Connection, executor: Executor) -> AsyncIterator[asyncio.Task[Any]]:
    """A task whose statement the server is busy with."""
    statement = asyncio.create_task(executor.execute(SLEEP, seconds=600))
    await eventually(lambda: sleeps(connection))
    yield statement
    await eventually(lambda: has_ended(connection))


@pytest.mark.usefixtures("one_attempt_at_a_time")
async def test_a_statement_that_takes_too_long_is_cancelled_on_the_server(
    database_url: str, connection: asyncpg.Connection
) -> None:
    async with database_at(database_url, statement_seconds=0.2) as database:
        with pytest.raises(Unavailable) as caught:
            await database.execute(SLEEP, seconds=600)
        assert isinstance(caught.value.__cause__, TimeoutError)
        await eventually(lambda: has_ended(connection))
        assert await pid(database)
    await eventually(lambda: is_alone(connection))


async def test_a_connection_killed_while_idle_is_replaced(database: Database, connection: asyncpg.Connection) -> None:
    killed = await pid(database)
    assert await connection.fetchval("SELECT pg_terminate_backend($1, 10000)", killed)
    await connection.fetchval("SELECT 1")
    assert await pid(database) != killed


@pytest.mark.usefixtures("one_attempt_at_a_time")
async def test_a_cancelled_request_leaves_nothing_on_the_server(
    database: Database, connection: asyncpg.Connection
) -> None:
    async with asleep(connection, database) as statement:
        statement.cancel()
        with pytest.raises(asyncio.CancelledError):
            await statement
    await eventually(lambda: is_alone(connection))
    assert await count(database) == 0


# One for each SQLSTATE class and each SQLSTATE that says that the database cannot serve now.
AWAY = {
    "08006": "connection failure",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "57014": "query cancelled",
    "57P01": "admin shutdown",
    "57P03": "cannot connect now",
    "58030": "I/O error",
    "25006": "read-only transaction",
    "40001": "serialization failure",
    "40P01": "deadlock detected",
    "55P03": "lock not available",
}
DEFECTS = {
    "22012": "division by zero",
    "23505": "unique violation",
    "42P01": "undefined table",
    "42501": "insufficient privilege",
    "0A000": "feature not supported",
    "25P02": "in failed transaction",
    "P0001": "raise exception",
}
STATES = [pytest.param(state, id=name) for state, name in AWAY.items()]


@pytest.mark.parametrize("state", STATES)
async def test_what_the_databases_absence_causes_is_unavailable(database_url: str, prepared: None, state: str) -> None:
    async with database_at(database_url, wait_seconds=2, statement_seconds=2) as database:
        await _is_unavailable(database, state)


async def _is_unavailable(database: Database, state: str) -> None:
    with pytest.raises(Unavailable) as caught:
        await database.one(FAIL, state=state)
    assert getattr(caught.value.__cause__, "sqlstate", None) == state
    assert await count(database) == 0


@pytest.mark.parametrize("state", STATES)
async def test_absence_inside_a_transaction_is_unavailable(database: Database, state: str) -> None:
    with pytest.raises(Unavailable) as caught:
        async with database.transaction() as transaction:
            await transaction.one(FAIL, state=state)
    assert getattr(caught.value.__cause__, "sqlstate", None) == state
    assert await count(database) == 0


@pytest.mark.parametrize("state", DEFECTS.keys(), ids=DEFECTS.values())
async def test_a_defect_is_the_drivers_own_error_and_costs_no_connection(database: Database, state: str) -> None:
    before = await pid(database)
    with pytest.raises(asyncpg.PostgresError) as caught:
        await database.one(FAIL, state=state)
    assert caught.value.sqlstate == state
    assert caught.value.__cause__ is None
    assert await pid(database) == before


async def test_errors_of_real_statements_are_themselves(database: Database) -> None:
    await database.execute(ADD, name="a", value=1)
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.execute(ADD, name="a", value=2)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await database.one(DIVIDE, by=0)
    with pytest.raises(asyncpg.DataError):
        await database.execute(ADD, name="b", value="not a number")
    assert await count(database) == 1


async def test_a_database_that_only_reads_is_unavailable_for_writing(
    database_url: str, prepared: None, connection: asyncpg.Connection
) -> None:
    name = urlsplit(database_url).path.removeprefix("/")
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with database_at(database_url) as database:
        with pytest.raises(Unavailable):
            await database.execute(ADD, name="a", value=1)
        assert await count(database) == 0


async def test_a_read_whose_connection_is_lost_is_run_again_on_another(
    database: Database, connection: asyncpg.Connection
) -> None:
    reading = asyncio.create_task(database.one(SLOW_PID, seconds=1))
    await eventually(lambda: sleeps(connection))
    (killed,) = await sleeping(connection)
    await connection.execute("SELECT pg_terminate_backend($1)", killed)
    row = await reading
    assert row is not None
    assert row.pid != killed


async def test_a_read_that_loses_its_connection_again_is_unavailable(
    database: Database, connection: asyncpg.Connection
) -> None:
    reading = asyncio.create_task(database.one(SLOW_PID, seconds=600))
    for _ in range(2):
        await eventually(lambda: sleeps(connection))
        await connection.execute("SELECT pg_terminate_backend($1, 10000)", (await sleeping(connection))[0])
    with pytest.raises(Unavailable):
        await reading


async def test_a_write_whose_connection_is_lost_is_not_run_again(
    database: Database, connection: asyncpg.Connection
) -> None:
    await database.execute(ADD, name="a", value=1)
    async with connection.transaction():
        await connection.execute("LOCK TABLE counters")
        writing = asyncio.create_task(database.execute(RAISE, name="a"))
        await eventually(lambda: waits(connection))
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event = 'relation'"
        )
        with pytest.raises(Unavailable):
            await writing
    assert await connection.fetchval("SELECT value FROM counters") == 1
    assert await count(database) == 1


async def test_a_connection_to_a_server_that_takes_no_writes_any_more_is_not_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundwork.data.failover._REPLACEMENT_SECONDS", 0)
    before = await pid(database)
    with pytest.raises(Unavailable):
        await database.one(FAIL, state="25006")
    assert await pid(database) != before
    before = await pid(database)
    with pytest.raises(Unavailable):
        async with database.transaction() as transaction:
            await transaction.one(FAIL, state="25006")
    assert await pid(database) != before


@pytest.fixture
async def limited_url(database_url: str, connection: asyncpg.Connection) -> AsyncIterator[str]:
    """The URL of the database for a role that may have two connections."""
    await connection.execute("CREATE ROLE limited LOGIN PASSWORD 'secret' CONNECTION LIMIT 2")
    parts = urlsplit(database_url)
    yield parts._replace(netloc=f"limited:secret@{parts.netloc.rpartition('@')[2]}").geturl()
    await connection.execute("DROP ROLE limited")


@pytest.mark.usefixtures("one_attempt_at_a_time")
async def test_too_many_connections_are_unavailable_until_one_is_free(
    limited_url: str, connection: asyncpg.Connection
) -> None:
    holders = [await asyncpg.connect(limited_url), await asyncpg.connect(limited_url)]
    async with database_at(limited_url, wait_seconds=1) as database:
        with pytest.raises(Unavailable) as caught:
            await pid(database)
        assert isinstance(caught.value.__cause__, asyncpg.TooManyConnectionsError)
        for holder in holders:
            await holder.close()
        await eventually(lambda: is_alone(connection))
        assert await pid(database)


async def test_an_unreachable_database_is_unavailable() -> None:
    async with database_at("postgresql://user:password@127.0.0.1:1/nothing", wait_seconds=0.2) as database:
        with pytest.raises(Unavailable):
            await pid(database)
        with pytest.raises(Unavailable):
            async with database.transaction():
                pytest.fail("the block must not begin")


async def test_a_columns_new_type_is_seen_by_connections_that_are_already_open(
    database: Database, connection: asyncpg.Connection
) -> None:
    statement = Statement(select(counters.c.value), returns=Value)
    await database.execute(ADD, name="a", value=1)
    assert await database.all(statement) == [Value(value=1)]
    await connection.execute("ALTER TABLE counters ALTER COLUMN value TYPE bigint")
    assert await database.all(statement) == [Value(value=1)]


async def test_a_transaction_takes_effect_whole(database: Database, connection: asyncpg.Connection) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(ADD, name="a", value=1)
        assert await transaction.execute(RAISE, name="a") == 1
        assert await count(transaction) == 1
        assert await count(database) == 0, "another connection must not see it yet"
    assert await connection.fetchval("SELECT value FROM counters") == 2


@pytest.mark.parametrize(
    "error",
    [ValueError("own"), NotFound("own"), FileNotFoundError("own"), TimeoutError("own"), StopAsyncIteration("own")],
    ids=lambda error: type(error).__name__,
)
async def test_an_exception_in_the_block_undoes_all_and_comes_out_as_it_is(
    database: Database, error: Exception
) -> None:
    before = await pid(database)
    cause = error.__cause__ = KeyError("why")

    async def work() -> None:
        async with database.transaction() as transaction:
            await transaction.execute(ADD, name="a", value=1)
            raise error

    with pytest.raises(type(error)) as caught:
        await work()
    assert caught.value is error
    assert caught.value.__cause__ is cause
    assert await count(database) == 0
    assert await pid(database) == before, "the connection was fit to be kept"


async def test_a_defect_in_a_transaction_undoes_all(database: Database) -> None:
    before = await pid(database)

    async def work() -> None:
        async with database.transaction() as transaction:
            await transaction.execute(ADD, name="a", value=1)
            await transaction.one(DIVIDE, by=0)

    with pytest.raises(asyncpg.DivisionByZeroError):
        await work()
    assert await count(database) == 0
    assert await pid(database) == before


async def test_a_failed_statement_fails_the_transaction_even_when_the_block_goes_on(database: Database) -> None:
    async def work() -> None:
        async with database.transaction() as transaction:
            await transaction.execute(ADD, name="a", value=1)
            with suppress(asyncpg.DivisionByZeroError):
                await transaction.one(DIVIDE, by=0)

    with pytest.raises(asyncpg.DivisionByZeroError):
        await work()
    assert await count(database) == 0


async def test_an_error_at_commit_comes_out_and_undoes_all(database: Database) -> None:
    async def work() -> None:
        async with database.transaction() as transaction:
            await transaction.execute(ADD, name="a", value=1)
            await transaction.execute(ADD, name="b", value=1)

    with pytest.raises(asyncpg.UniqueViolationError):
        await work()
    assert await count(database) == 0


@pytest.mark.usefixtures("one_attempt_at_a_time")
async def test_a_cancelled_transaction_is_undone_and_leaves_nothing(
    database: Database, connection: asyncpg.Connection
) -> None:
    async def work() -> None:
        async with database.transaction() as transaction:
            await transaction.execute(ADD, name="a", value=1)
            await transaction.execute(SLEEP, seconds=600)

    task = asyncio.create_task(work())
    await eventually(lambda: sleeps(connection))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: is_alone(connection))
    assert await connection.fetchval("SELECT count(*) FROM counters") == 0


@pytest.mark.usefixtures("one_attempt_at_a_time")
async def test_a_transaction_cancelled_between_statements_is_undone(
    database: Database, connection: asyncpg.Connection
) -> None:
    written = asyncio.Event()

    async def work() -> None:
        async with database.transaction() as transaction:
            await transaction.execute(ADD, name="a", value=1)
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: is_alone(connection))
    assert await connection.fetchval("SELECT count(*) FROM counters") == 0


async def test_a_connection_killed_in_a_transaction_is_unavailable(
    database: Database, connection: asyncpg.Connection
) -> None:
    async def work() -> None:
        async with database.transaction() as transaction:
            await transaction.execute(ADD, name="a", value=1)
            assert await connection.fetchval("SELECT pg_terminate_backend($1, 10000)", await pid(transaction))
            await transaction.execute(ADD, name="b", value=2)

    with pytest.raises(Unavailable):
        await work()
    assert await count(database) == 0


async def test_a_connection_killed_before_the_commit_is_unavailable(
    database: Database, connection: asyncpg.Connection
) -> None:
    async def work() -> None:
        async with database.transaction() as transaction:
            await transaction.execute(ADD, name="a", value=1)
            assert await connection.fetchval("SELECT pg_terminate_backend($1, 10000)", await pid(transaction))

    with pytest.raises(Unavailable):
        await work()
    assert await count(database) == 0


async def test_a_statement_that_takes_too_long_in_a_transaction_undoes_all(
    database_url: str, prepared: None, connection: asyncpg.Connection
) -> None:
    async with database_at(database_url, statement_seconds=0.2) as database:

        async def work() -> None:
            async with database.transaction() as transaction:
                await transaction.execute(ADD, name="a", value=1)
                await transaction.execute(SLEEP, seconds=600)

        with pytest.raises(Unavailable):
            await work()
        await eventually(lambda: has_ended(connection))
        assert await count(database) == 0


async def test_two_transactions_share_no_connection(database: Database) -> None:
    async with database.transaction() as one, database.transaction() as other:
        assert await pid(one) != await pid(other)
        await one.execute(ADD, name="a", value=1)
        assert await count(other) == 0


async def test_transactions_give_their_connections_back(database_url: str, prepared: None) -> None:
    async with database_at(database_url, pool_size=1) as database:
        for number in range(20):
            async with database.transaction() as transaction:
                await transaction.execute(ADD, name=str(number), value=number)
        assert await count(database) == 20


class FreezingProxy:
    """A proxy in front of PostgreSQL. Once frozen, it accepts everything and answers nothing."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    def freeze(self) -> None:
        self._thawed.clear()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The database's URL through this proxy."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        userinfo = self._url.netloc.rpartition("@")[0]
        yield self._url._replace(netloc=f"{userinfo}@127.0.0.1:{port}").geturl()
        server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        server_reader, server_writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        self._writers.append(server_writer)
        self._pipes |= {
            asyncio.create_task(self._pipe(reader, server_writer)),
            asyncio.create_task(self._pipe(server_reader, writer)),
        }

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._thawed.wait()
                writer.write(data)
        finally:
            writer.close()


async def test_a_database_that_falls_silent_is_unavailable_within_bounds(
    database_url: str, prepared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundwork.data.background._CLOSE_SECONDS", 0.1)
    proxy = FreezingProxy(database_url)
    async with (
        proxy.serving() as url,
        database_at(url, pool_size=3, wait_seconds=1, statement_seconds=0.3) as database,
        asyncio.timeout(10),
    ):
        async with database.transaction(), database.transaction():
            pass  # two connections are open now
        proxy.freeze()
        with pytest.raises(Unavailable):
            await count(database)
        with pytest.raises(Unavailable):
            async with database.transaction():
                pytest.fail("the block must not begin")
        with pytest.raises(Unavailable):
            await count(database)


@pytest.mark.usefixtures("one_attempt_at_a_time")
async def test_a_database_that_falls_silent_in_a_transaction_is_unavailable_within_bounds(
    database_url: str, prepared: None, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundwork.data.background._CLOSE_SECONDS", 0.1)
    proxy = FreezingProxy(database_url)
    async with (
        proxy.serving() as url,
        database_at(url, wait_seconds=1, statement_seconds=0.3) as database,
        asyncio.timeout(10),
    ):

        async def work() -> None:
            async with database.transaction() as transaction:
                await transaction.execute(ADD, name="a", value=1)
                proxy.freeze()

        with pytest.raises(Unavailable):
            await work()
    await eventually(lambda: is_alone(connection))
    assert await connection.fetchval("SELECT count(*) FROM counters") == 0


class TestConflicts:
    """If `conflicts` of a statement names a constraint, a client learns that other rows break it."""

    KEEP: Statement[Any] = Statement(
        insert(IdempotencyRecord).values(user_id=OWNER_ID, key=bindparam("key"), fingerprint=b""),
        conflicts={"idempotency_keys_pkey": "There is such a key already."},
    )

    @pytest.fixture
    async def key(self, database: Database) -> str:
        """A key that exists in the table."""
        await database.execute(self.KEEP, owner="alice", key="first")
        return "first"

    async def test_a_named_constraint_is_a_conflict(self, database: Database, key: str) -> None:
        with pytest.raises(Conflict, match=r"^There is such a key already\.$") as caught:
            await database.execute(self.KEEP, owner="alice", key=key)
        assert isinstance(caught.value.__cause__, asyncpg.UniqueViolationError)

    @pytest.mark.parametrize("swallowed", [False, True])
    async def test_in_a_transaction_it_undoes_the_rest(
        self, database: Database, connection: asyncpg.Connection, key: str, swallowed: bool
    ) -> None:
        with pytest.raises(Conflict):  # noqa: PT012 - the block is the transaction
            async with database.transaction() as transaction:
                await transaction.execute(self.KEEP, owner="alice", key="second")
                with suppress(Conflict if swallowed else KeyError):
                    await transaction.execute(self.KEEP, owner="alice", key=key)
        assert await connection.fetchval("SELECT count(*) FROM idempotency_keys") == 1

    async def test_any_other_constraint_is_a_defect(self, database: Database) -> None:
        with pytest.raises(asyncpg.CheckViolationError):
            await database.execute(self.KEEP, owner="", key="second")

    @pytest.fixture
    def slots(self) -> Iterator[list[Any]]:
        """Tables of the models: one that is partitioned, and one that refers to it."""
        key: list[Any] = [Column("owner", String, primary_key=True), Column("id", Integer, primary_key=True)]
        slots: Any = Table(
            "slots",
            SQLModel.metadata,
            *key,
            Column("Name", String),
            Column("at", Integer),
            UniqueConstraint("owner", "Name", name="slots_name_key"),
            postgresql.ExcludeConstraint(("owner", "="), ("at", "="), name="slots_at_excl", using="btree"),
            CheckConstraint("id > 0", name="id"),
            postgresql_partition_by="HASH (owner)",
        )
        to_slot = ForeignKeyConstraint(["owner", "id"], [slots.c.owner, slots.c.id], name="notes_slot_fkey")
        notes: Any = Table("notes", SQLModel.metadata, Column("owner", String), Column("id", Integer), to_slot)
        yield [public(each, reason="Of this test.") for each in (slots, notes)]
        for each in (notes, slots):
            SQLModel.metadata.remove(each)
            public_tables.pop(each)

    async def test_a_partitions_constraint_is_that_of_the_table(
        self, database: Database, connection: asyncpg.Connection, slots: list[Any]
    ) -> None:
        """PostgreSQL gives a key another name in each partition, and adds a number to references to the table."""
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        table, notes = (str(CreateTable(each).compile(dialect=dialect)) for each in slots)
        part = "CREATE TABLE slots_{0} PARTITION OF slots FOR VALUES WITH (MODULUS 2, REMAINDER {0})"
        await connection.execute(";".join([table, part.format(0), part.format(1), notes]))
        sentences = {
            name: f"The sentence of {name}."
            for name in ("slots_pkey", "slots_name_key", "slots_at_excl", "slots_id_check", "notes_slot_fkey")
        }
        new: Any = {each.name: bindparam(each.name) for each in slots[0].columns}
        add: Statement[Any] = Statement(insert(slots[0]).values(new), conflicts=sentences)
        for owner in "abcd":
            values = {"owner": owner, "id": 1, "Name": "x", "at": 1}
            await database.execute(add, **values)
            await connection.execute("INSERT INTO notes VALUES ($1, 1)", owner)
            for changes, name in (
                ({"Name": "y", "at": 2}, "slots_pkey"),
                ({"id": 2, "at": 2}, "slots_name_key"),
                ({"id": 2, "Name": "y"}, "slots_at_excl"),
                ({"id": 0, "Name": "y", "at": 2}, "slots_id_check"),
            ):
                with pytest.raises(Conflict, match=f"of {name}\\."):
                    await database.execute(add, **{**values, **changes})
        with pytest.raises(Conflict, match=r"of notes_slot_fkey\."):
            await database.execute(Statement(delete(slots[0]), conflicts=sentences))
        one = {"slots_name_key": "It is said of this one only."}
        other: Statement[Any] = Statement(insert(slots[0]).values(new), conflicts=one)
        with pytest.raises(asyncpg.UniqueViolationError):
            await database.execute(other, owner="a", id=1, Name="y", at=2)

    def test_a_constraint_that_no_table_has_is_refused_at_import(self) -> None:
        with pytest.raises(TypeError, match="no table has a constraint counters_fkey"):
            Statement(delete(counters), conflicts={"counters_fkey": "Never said."})

"""Isolation levels, retries, savepoints, row locks, and rows that are streamed from a cursor."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from pydantic import BaseModel
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, func, insert, literal, select, update

from groundwork.data.database import Database, Executor, Transaction
from groundwork.data.known_tables import public
from groundwork.data.statement import Statement
from groundwork.errors import Unavailable
from groundwork.tests.core import database_at
from groundwork.tests.pooler import Pooler

accounts = public(
    Table("accounts", MetaData(), Column("name", String, primary_key=True), Column("money", Integer)),
    reason="Of these tests.",
)


class Account(BaseModel):
    name: str
    money: int


class Number(BaseModel):
    value: int
    text: str


_NAME = accounts.c.name == bindparam("name")
_GET = Statement(select(accounts).where(_NAME), returns=Account)
_LOCK = Statement(select(accounts).where(_NAME).with_for_update(), returns=Account)
_LOCK_OR_SKIP = Statement(select(accounts).where(_NAME).with_for_update(skip_locked=True), returns=Account)
_ALL = Statement(select(accounts).order_by(accounts.c.name), returns=Account)
_ADD: Statement[Any] = Statement(update(accounts).where(_NAME).values(money=accounts.c.money + bindparam("more")))
_OPEN: Statement[Any] = Statement(
    insert(accounts).values(name=bindparam("name"), money=bindparam("money")),
)
_series = func.generate_series(1, bindparam("count", type_=Integer)).table_valued("value").render_derived()
_NUMBERS = Statement(select(_series.c.value, func.repeat("x", 100).label("text")), returns=Number)
_OTHER_NUMBERS = Statement(select(_series.c.value.label("value"), literal("y").label("text")), returns=Number)


@pytest.fixture(params=["direct", "pooler", "tracking_pooler"])
async def database(
    request: pytest.FixtureRequest, database_url: str, connection: asyncpg.Connection
) -> AsyncIterator[Database]:
    """Alice and Bob have 100 each. The database is reached directly, or through a pooler."""
    url = database_url
    if request.param != "direct":
        pooler: Pooler = request.getfixturevalue(request.param)
        url = pooler.url(database_url)
    await connection.execute("CREATE TABLE accounts (name text PRIMARY KEY, money int CHECK (money >= 0))")
    await connection.execute("INSERT INTO accounts VALUES ('alice', 100), ('bob', 100)")
    try:
        async with database_at(url) as database:
            yield database
    finally:
        await connection.execute("DROP TABLE accounts")


async def _balances(database: Executor) -> dict[str, int]:
    return {each.name: each.money for each in await database.all(_ALL)}


class Withdrawals:
    """Two at once, which have both read before one of them writes."""

    def __init__(self) -> None:
        self._reads = 0
        self._both_have_read = asyncio.Event()

    async def withdraw_if_both_have(self, statements: Transaction, name: str) -> bool:
        """Take 100 from one account if both together have 150. Below `serializable`, two at once break this rule."""
        if sum((await _balances(statements)).values()) < 150:
            return False
        self._reads += 1
        if self._reads == 2:
            self._both_have_read.set()
        await self._both_have_read.wait()
        await statements.execute(_ADD, name=name, more=-100)
        return True


async def test_serializable_transactions_that_depend_on_each_other_take_turns(database: Database) -> None:
    withdrawals = Withdrawals()

    async def withdraw(name: str) -> bool:
        return await database.run_in_transaction(
            lambda statements: withdrawals.withdraw_if_both_have(statements, name), isolation="serializable", retries=3
        )

    assert sorted(await asyncio.gather(withdraw("alice"), withdraw("bob"))) == [False, True]
    assert sum((await _balances(database)).values()) == 100


async def test_without_it_they_do_not(database: Database) -> None:
    withdrawals = Withdrawals()

    async def withdraw(name: str) -> bool:
        return await database.run_in_transaction(lambda statements: withdrawals.withdraw_if_both_have(statements, name))

    assert list(await asyncio.gather(withdraw("alice"), withdraw("bob"))) == [True, True]
    assert sum((await _balances(database)).values()) == 0


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_it_is_repeated_so_often_and_no_more(
    database: Database, connection: asyncpg.Connection, retries: int
) -> None:
    attempts = 0

    async def collide(statements: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await statements.one(_GET, name="alice")
        await connection.execute("UPDATE accounts SET money = money + 1 WHERE name = 'alice'")
        await statements.execute(_ADD, name="alice", more=1)

    with pytest.raises(Unavailable):
        await database.run_in_transaction(collide, isolation="repeatable_read", retries=retries)
    assert attempts == retries + 1


@pytest.mark.parametrize("database", ["direct"], indirect=True)
async def test_a_level_that_there_is_not_is_refused_and_keeps_no_connection(database: Database) -> None:
    for _ in range(20):
        with pytest.raises(ValueError, match=r"isolation is 'high': give one of read_committed, .*, serializable"):
            await database.run_in_transaction(_money, isolation="high")  # type: ignore[arg-type]
    assert await database.run_in_transaction(_money) == 100


@pytest.mark.parametrize("database", ["direct"], indirect=True)
async def test_a_negative_number_of_retries_is_refused_before_anything_runs(database: Database) -> None:
    with pytest.raises(ValueError, match="retries is -1: give 0 or more, or None"):
        await database.run_in_transaction(_money, retries=-1)


async def _money(statements: Executor) -> int:
    account = await statements.one(_GET, name="alice")
    return account.money if account else 0


async def test_a_read_only_transaction_writes_nothing(database: Database) -> None:
    with pytest.raises(Unavailable):  # as of a standby
        async with database.transaction(readonly=True) as statements:
            await statements.execute(_ADD, name="alice", more=1)
    assert (await _balances(database))["alice"] == 100


async def test_the_level_is_of_this_transaction_only(database: Database, connection: asyncpg.Connection) -> None:
    async with database.transaction(isolation="repeatable_read") as statements:
        await statements.one(_GET, name="alice")
        await connection.execute("UPDATE accounts SET money = 1 WHERE name = 'alice'")
        assert (await _balances(statements))["alice"] == 100
    async with database.transaction() as statements:
        await statements.one(_GET, name="alice")
        await connection.execute("UPDATE accounts SET money = 2 WHERE name = 'alice'")
        assert (await _balances(statements))["alice"] == 2


class TestSavepoints:
    async def test_a_part_is_undone_alone(self, database: Database) -> None:
        async with database.transaction() as statements:
            await statements.execute(_ADD, name="alice", more=1)
            with suppress(LookupError):
                async with statements.savepoint():
                    await statements.execute(_ADD, name="bob", more=1)
                    raise LookupError
            async with statements.savepoint():
                await statements.execute(_ADD, name="alice", more=10)
        assert await _balances(database) == {"alice": 111, "bob": 100}

    async def test_a_broken_constraint_is_undone_and_the_transaction_goes_on(self, database: Database) -> None:
        async with database.transaction() as statements:
            with pytest.raises(asyncpg.CheckViolationError):
                async with statements.savepoint():
                    await statements.execute(_ADD, name="alice", more=-1000)
            await statements.execute(_ADD, name="alice", more=-1)
        assert (await _balances(database))["alice"] == 99

    async def test_a_swallowed_error_undoes_the_part(self, database: Database) -> None:
        async with database.transaction() as statements:
            with pytest.raises(asyncpg.UniqueViolationError):
                await self._swallow(statements)
            await statements.execute(_OPEN, name="carol", money=1)
        assert await _balances(database) == {"alice": 100, "bob": 100, "carol": 1}

    async def _swallow(self, statements: Transaction) -> None:
        async with statements.savepoint():
            with suppress(asyncpg.UniqueViolationError):
                await statements.execute(_OPEN, name="bob", money=1)

    async def test_they_are_nested(self, database: Database) -> None:
        async with database.transaction() as statements, statements.savepoint():
            await statements.execute(_ADD, name="alice", more=1)
            with suppress(LookupError):
                async with statements.savepoint():
                    await statements.execute(_ADD, name="alice", more=10)
                    raise LookupError
        assert (await _balances(database))["alice"] == 101

    async def test_a_collision_undoes_everything(self, database: Database, connection: asyncpg.Connection) -> None:
        attempts = 0

        async def work(statements: Transaction) -> None:
            nonlocal attempts
            attempts += 1
            await statements.one(_GET, name="alice")
            if attempts == 1:
                await connection.execute("UPDATE accounts SET money = money + 1 WHERE name = 'alice'")
            async with statements.savepoint():
                await statements.execute(_ADD, name="alice", more=10)

        await database.run_in_transaction(work, isolation="repeatable_read")
        assert (attempts, (await _balances(database))["alice"]) == (2, 111)

    async def test_a_lost_connection_is_unavailable(self, database: Database, connection: asyncpg.Connection) -> None:
        kill = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND state = 'idle in transaction'"
        )

        async def work(statements: Transaction) -> None:
            await statements.execute(_ADD, name="alice", more=1)
            async with statements.savepoint():
                await connection.execute(kill)
                await statements.execute(_ADD, name="alice", more=1)

        with pytest.raises(Unavailable):
            await database.run_in_transaction(work)
        assert (await _balances(database))["alice"] == 100


async def test_a_locked_row_is_waited_for_or_skipped(database: Database) -> None:
    locked, release = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with database.transaction() as statements:
            await statements.one(_LOCK, name="alice")
            locked.set()
            await release.wait()
            await statements.execute(_ADD, name="alice", more=1)

    async def wait() -> int:
        async with database.transaction() as statements:
            row = await statements.one(_LOCK, name="alice")
            assert row is not None
            return row.money

    holding = asyncio.create_task(hold())
    await locked.wait()
    async with database.transaction() as statements:
        assert await statements.one(_LOCK_OR_SKIP, name="alice") is None
        assert await statements.one(_LOCK_OR_SKIP, name="bob") is not None
    waiting = asyncio.create_task(wait())
    release.set()
    await holding
    assert await waiting == 101


class TestStreams:
    async def test_every_row_comes_in_order(self, database: Database) -> None:
        for count in (0, 1, 499, 500, 501, 1500):
            async with database.transaction() as statements:
                found = [row.value async for row in statements.stream(_NUMBERS, count=count)]
            assert found == list(range(1, count + 1))

    async def test_memory_does_not_grow_with_the_rows(self, database: Database) -> None:
        peaks = []
        for count in (20_000, 200_000):
            async with database.transaction() as statements:
                tracemalloc.start()
                seen = 0
                async for row in statements.stream(_NUMBERS, count=count):
                    seen += len(row.text) == 100
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
            assert seen == count
        # Ten times as many rows. What the driver reads ahead differs from run to run.
        assert peaks[1] < 2 * peaks[0]

    async def test_it_shows_one_moment(self, database: Database, connection: asyncpg.Connection) -> None:
        async with database.transaction(isolation="repeatable_read", readonly=True) as statements:
            rows = statements.stream(_ALL, rows_at_once=1)
            assert (await anext(rows)).name == "alice"
            await connection.execute("UPDATE accounts SET money = 0; INSERT INTO accounts VALUES ('carol', 1)")
            assert [row.model_dump() async for row in rows] == [{"name": "bob", "money": 100}]
            assert await _balances(statements) == {"alice": 100, "bob": 100}

    async def test_several_run_at_once(self, database: Database) -> None:
        async with database.transaction() as statements:
            streams = [
                statements.stream(each, rows_at_once=2, count=5) for each in (_NUMBERS, _OTHER_NUMBERS, _NUMBERS)
            ]
            found = [[await anext(each) for each in streams] for _ in range(5)]
            assert [row.value for row in found[-1]] == [5, 5, 5]
            assert [row.text[0] for row in found[0]] == ["x", "y", "x"]

    async def test_one_that_is_left_ends_with_the_transaction(self, database: Database) -> None:
        for _ in range(3):
            async with database.transaction() as statements:
                async for row in statements.stream(_NUMBERS, rows_at_once=2, count=100):
                    if row.value == 3:
                        break
                assert (await statements.one(_GET, name="alice")) is not None

    async def test_a_column_that_has_changed_is_seen(self, database: Database, connection: asyncpg.Connection) -> None:
        for type_ in ("bigint", "numeric", "int"):
            async with database.transaction() as statements:
                assert [row.money async for row in statements.stream(_ALL)] == [100, 100]
            await connection.execute(f"ALTER TABLE accounts ALTER COLUMN money TYPE {type_}")
        async with database.transaction() as statements:
            assert [row.money async for row in statements.stream(_ALL)] == [100, 100]

    async def test_a_statement_that_fails_fails_the_transaction(self, database: Database) -> None:
        division = Statement(
            select((100 // (_series.c.value - 600)).label("value"), literal("").label("text")), returns=Number
        )

        async def work(statements: Transaction) -> list[Number]:
            return [row async for row in statements.stream(division, count=1000)]

        with pytest.raises(asyncpg.DivisionByZeroError):
            await database.run_in_transaction(work)
        assert (await database.one(_GET, name="alice")) is not None

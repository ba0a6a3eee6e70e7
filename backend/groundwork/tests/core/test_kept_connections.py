"""A connection is closed only after an error with which the server ended its session."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from groundwork.data.connector import Connector, connection_target
from groundwork.data.database import Database
from groundwork.errors import Unavailable
from groundwork.tests.core import eventually, set_default
from groundwork.tests.core.test_database import (
    ADD,
    AWAY,
    DEFECTS,
    FAIL,
    PREPARATION,
    SLEEP,
    SLOW_PID,
    count,
    pid,
    sleeping,
    sleeps,
)

pytestmark = pytest.mark.usefixtures("one_attempt_at_a_time")

TIMES = 40
COLLISIONS = ("40001", "40P01")
# The server answers these with severity ERROR, so the session goes on.
STATES = sorted({*AWAY, *DEFECTS, "08P01", "53400", "58P01", "57P05", "25P03", "25P04", "XX000"} - {"25006"})


class CountingConnector:
    def __init__(self, url: str) -> None:
        self._connector = Connector(connection_target(url), timeout_seconds=10)
        self.opened = 0

    async def __call__(self) -> asyncpg.Connection:
        self.opened += 1
        return await self._connector()


@pytest.fixture
async def connector(database_url: str, connection: asyncpg.Connection) -> CountingConnector:
    await connection.execute(PREPARATION)
    return CountingConnector(database_url)


@pytest.fixture
async def database(connector: CountingConnector) -> AsyncIterator[Database]:
    """A database that stops repeating after a short time."""
    database = Database(connector, pool_size=4, wait_seconds=1, queue_seconds=10, statement_seconds=2)
    async with database:
        yield database


@pytest.mark.parametrize("state", STATES)
async def test_an_error_that_the_session_survives_costs_no_connection(
    database: Database, connector: CountingConnector, state: str
) -> None:
    with pytest.raises((Unavailable, asyncpg.PostgresError)):
        await database.one(FAIL, state=state)
    with pytest.raises((Unavailable, asyncpg.PostgresError)):
        async with database.transaction() as transaction:
            await transaction.one(FAIL, state=state)
    assert await count(database) == 0
    # A collision is repeated until the time is over, which can interrupt the last attempt while the server runs it.
    assert connector.opened <= (2 if state in COLLISIONS else 1)


@pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
async def test_a_limit_of_the_roles_cancels_the_statement_only(
    database: Database, connector: CountingConnector, connection: asyncpg.Connection, setting: str
) -> None:
    await set_default(connection, setting, "20")
    async with connection.transaction():
        await connection.execute("LOCK TABLE counters")
        for _ in range(TIMES):
            with pytest.raises(Unavailable) as caught:
                await database.execute(ADD, name="a", value=1)
            assert isinstance(caught.value.__cause__, asyncpg.QueryCanceledError | asyncpg.LockNotAvailableError)
        with pytest.raises(Unavailable):
            async with database.transaction() as transaction:
                await transaction.execute(ADD, name="a", value=1)
    assert await database.execute(ADD, name="a", value=1) == 1
    assert connector.opened == 1


async def test_many_at_once_that_are_cancelled_open_no_more_than_the_pool_holds(
    connector: CountingConnector, connection: asyncpg.Connection
) -> None:
    await set_default(connection, "statement_timeout", "20")
    async with Database(connector, pool_size=4, wait_seconds=10, queue_seconds=10, statement_seconds=10) as database:
        answers = await asyncio.gather(
            *(database.execute(SLEEP, seconds=600) for _ in range(TIMES)), return_exceptions=True
        )
    assert {type(answer) for answer in answers} == {Unavailable}
    assert connector.opened <= 4


async def test_an_operators_cancel_ends_the_statement_only(
    database: Database, connector: CountingConnector, connection: asyncpg.Connection
) -> None:
    async with Database(connector, pool_size=1, wait_seconds=10, queue_seconds=10, statement_seconds=10) as patient:
        reading = asyncio.create_task(patient.one(SLOW_PID, seconds=600))
        await eventually(lambda: sleeps(connection))
        [busy] = await sleeping(connection)
        assert await connection.fetchval("SELECT pg_cancel_backend($1)", busy)
        with pytest.raises(Unavailable):
            await reading
        assert await pid(patient) == busy


async def test_a_commit_that_is_refused_costs_no_connection(database: Database, connector: CountingConnector) -> None:
    for _ in range(3):
        with pytest.raises(asyncpg.UniqueViolationError):  # noqa: PT012 - the block is the transaction
            async with database.transaction() as transaction:
                await transaction.execute(ADD, name="a", value=1)
                await transaction.execute(ADD, name="b", value=1)
    assert await count(database) == 0
    assert connector.opened == 1


@pytest.mark.parametrize("setting", ["idle_in_transaction_session_timeout", "transaction_timeout"])
async def test_a_transaction_that_the_server_ends_with_its_session_is_unavailable(
    database: Database, connector: CountingConnector, connection: asyncpg.Connection, setting: str
) -> None:
    if setting == "transaction_timeout" and connection.get_server_version() < (17,):
        pytest.skip("PostgreSQL 17 brought it")
    await set_default(connection, setting, "50")

    async def has_ended(ended: int) -> bool:
        return not await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", ended)

    for statement_follows in (True, False):
        with pytest.raises(Unavailable):  # noqa: PT012 - the block is the transaction
            async with database.transaction() as transaction:
                await transaction.execute(ADD, name="a", value=1)
                session = await pid(transaction)
                await eventually(lambda session=session: has_ended(session))  # type: ignore[misc]
                if statement_follows:
                    await transaction.execute(ADD, name="b", value=2)
    assert await count(database) == 0
    assert connector.opened == 3


async def test_a_database_that_takes_no_writes_is_not_connected_to_for_each_of_them(
    database: Database, connector: CountingConnector, connection: asyncpg.Connection
) -> None:
    """A provider makes a database read-only for hours when its disk is full."""
    await set_default(connection, "default_transaction_read_only", "on")
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(TIMES):
        with pytest.raises(Unavailable):
            await database.execute(ADD, name="a", value=1)
        with pytest.raises(Unavailable):
            async with database.transaction() as transaction:
                await transaction.execute(ADD, name="a", value=1)
    renewals = 1 + (loop.time() - began) / 0.5
    assert connector.opened <= 1 + renewals * 4
    assert await count(database) == 0

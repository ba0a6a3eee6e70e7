"""The pool's sessions on a real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from groundwork.data.connector import connection_target
from groundwork.data.pool import Pool
from groundwork.data.target import ConnectionTarget
from groundwork.tests.core import eventually, session_count

pytestmark = pytest.mark.usefixtures("one_attempt_at_a_time")


@pytest.fixture
def target(database_url: str) -> ConnectionTarget:
    return connection_target(database_url)


@pytest.fixture
async def pool(target: ConnectionTarget) -> AsyncIterator[Pool]:
    """A pool of at most three real connections."""
    pool = Pool(lambda: target.connect(timeout_seconds=10), size=3, wait_seconds=10, queue_seconds=10)
    yield pool
    await pool.close()


async def has_sessions(connection: asyncpg.Connection, count: int) -> bool:
    return await session_count(connection) == count


async def pid_of(pool: Pool) -> Any:
    connection = await pool.acquire()
    try:
        return await connection.fetchval("SELECT pg_backend_pid()")
    finally:
        pool.release(connection)


async def test_the_server_sees_no_more_connections_than_the_pools_size(
    pool: Pool, connection: asyncpg.Connection
) -> None:
    pids = await asyncio.gather(*(pid_of(pool) for _ in range(50)))
    assert len(set(pids)) <= 3
    assert await session_count(connection) <= 3
    await pool.close()
    await eventually(lambda: has_sessions(connection, 0))


async def test_a_connection_killed_while_idle_is_replaced(pool: Pool, connection: asyncpg.Connection) -> None:
    pid = await pid_of(pool)
    assert await connection.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)
    # This answer comes after the server's last message on the killed connection, so the loop has read that one too.
    await connection.fetchval("SELECT 1")
    assert await pid_of(pool) != pid
    await eventually(lambda: has_sessions(connection, 1))


async def test_discarding_cancels_the_statement_that_runs(pool: Pool, connection: asyncpg.Connection) -> None:
    busy = await pool.acquire()
    statement = asyncio.create_task(busy.execute("SELECT pg_sleep(600)"))
    await eventually(lambda: has_sessions(connection, 1))
    await asyncio.sleep(0.05)
    statement.cancel()
    await asyncio.wait([statement])
    pool.discard(busy)
    await eventually(lambda: has_sessions(connection, 0))


async def test_cancellation_at_any_moment_loses_no_connection(pool: Pool, connection: asyncpg.Connection) -> None:
    async def cancelled_after(steps: int) -> None:
        task = asyncio.create_task(pid_of(pool))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    await asyncio.gather(*(cancelled_after(steps) for steps in range(60)))
    async with asyncio.timeout(10):
        held = [await pool.acquire() for _ in range(3)]
    for one in held:
        pool.discard(one)
    await pool.close()
    await eventually(lambda: has_sessions(connection, 0))

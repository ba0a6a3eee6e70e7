import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

from app.core.database import Database
from app.core.postgres import Connector, connection_target


def database_at(url: str, *, pool_size: int = 5, wait_seconds: float = 10, statement_seconds: float = 10) -> Database:
    """The service's own database layer on this address."""
    return Database(
        Connector(connection_target(url), timeout_seconds=wait_seconds),
        pool_size=pool_size,
        wait_seconds=wait_seconds,
        queue_seconds=wait_seconds,
        statement_seconds=statement_seconds,
    )


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds; what the server does after an event takes a moment."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - nothing tells when the server is done
            await asyncio.sleep(0.01)


async def session_count(connection: asyncpg.Connection) -> int:
    """The server's sessions on this database, without the asking one."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return count

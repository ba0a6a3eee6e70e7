import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from sqlalchemy import literal, select

from groundwork.data.connector import Connector, connection_target
from groundwork.data.database import Call, Database, Executor
from groundwork.data.statement import Statement


class DatabaseInTransactions(Database):
    """Runs each statement in a transaction, after another statement."""

    async def _run(self, call: Call, statement: Statement[Any], arguments: list[Any], **_: Any) -> Any:
        async def work(statements: Executor) -> Any:
            await statements.execute(_FIRST)
            return await statements._run(call, statement, arguments)

        return await self.run_in_transaction(work)


_FIRST: Statement[Any] = Statement(select(literal(1).label("value")))

BOTH_WAYS = [Database, DatabaseInTransactions]
"""A statement alone, and inside a transaction."""


def database_at(
    url: str,
    *,
    pool_size: int = 5,
    wait_seconds: float = 10,
    statement_seconds: float = 10,
    kind: type[Database] = Database,
) -> Database:
    """A `Database` for this URL."""
    return kind(
        Connector(connection_target(url), timeout_seconds=wait_seconds),
        pool_size=pool_size,
        wait_seconds=wait_seconds,
        queue_seconds=wait_seconds,
        statement_seconds=statement_seconds,
    )


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds. The server needs a moment to react to an event."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - nothing tells when the server is done
            await asyncio.sleep(0.01)


async def session_count(connection: asyncpg.Connection) -> int:
    """How many sessions clients have on this database, without this one and without autovacuum workers."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    return count


async def set_default(connection: asyncpg.Connection, name: str, value: str) -> None:
    """Change a setting for all sessions on this database that begin from now on."""
    database = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {database} SET {name} = '{value}'")

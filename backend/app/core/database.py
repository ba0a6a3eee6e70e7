"""Running statements: one at a time, each its own transaction, or several in one `transaction()`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, TypeVar

import asyncpg
from asyncpg.transaction import Transaction
from pydantic import BaseModel

from app.core.errors import Unavailable
from app.core.pool import Connect, Connection, Pool
from app.core.statement import Statement

Row = TypeVar("Row", bound=BaseModel)
Call = Callable[..., Awaitable[Any]]

# SQLSTATE (PostgreSQL manual, appendix A) of errors that say that the database cannot serve now, not that the statement
# is wrong. Classes: connection exception, insufficient resources, operator intervention, system error.
_AWAY_CLASSES = ("08", "53", "57", "58")
# Read-only transaction (a standby after failover), serialization failure, deadlock, lock not available.
_AWAY_STATES = ("25006", "40001", "40P01", "55P03")
# After errors of these classes the server closes the connection.
_CLOSING_CLASSES = ("08", "57")


class Executor:
    """What can run a statement. Values are given by the names of the statement's `bindparam`s.

    Raises:
        Unavailable: the database is away, or did not answer in time.
    """

    async def one(self, statement: Statement[Row], **values: Any) -> Row | None:
        """The first row, or None."""
        record = await self._run(Connection.fetchrow, statement.sql, statement.arguments(values))
        return None if record is None else statement.row(record)

    async def all(self, statement: Statement[Row], **values: Any) -> list[Row]:
        """Every row."""
        records = await self._run(Connection.fetch, statement.sql, statement.arguments(values))
        return statement.rows(records)

    async def execute(self, statement: Statement[Any], **values: Any) -> int:
        """How many rows an INSERT, UPDATE or DELETE touched."""
        tag: str = await self._run(Connection.execute, statement.sql, statement.arguments(values))
        return int(tag.rpartition(" ")[2])

    async def _run(self, call: Call, sql: str, arguments: list[Any]) -> Any:
        raise NotImplementedError


class Database(Executor):
    """The process's one pool of connections.

    A statement run here is a transaction of its own: one round trip, and the connection is free again.

    Args:
        connect: opens one connection.
        pool_size: connections at most.
        wait_seconds: how long a request waits for a free connection, opening one included.
        statement_seconds: how long a statement may take.
    """

    def __init__(self, connect: Connect, *, pool_size: int, wait_seconds: float, statement_seconds: float) -> None:
        self._pool = Pool(connect, size=pool_size, wait_seconds=wait_seconds)
        self._statement_seconds = statement_seconds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Executor]:
        """Several statements that take effect together, or not at all when the block raises.

        It holds one connection until the block ends: keep waiting for anything else out of it.
        """
        connection = await self._pool.acquire()
        transaction = connection.transaction()
        statements = _Transaction(connection, self._statement_seconds)
        try:
            await _call(connection, transaction.start)
            yield statements
            statements.require_success()
            await _call(connection, transaction.commit)
        except Exception:
            await self._roll_back(connection, transaction)
            raise
        except BaseException:
            self._pool.discard(connection)
            raise
        self._pool.release(connection)

    async def _run(self, call: Call, sql: str, arguments: list[Any]) -> Any:
        connection = await self._pool.acquire()
        try:
            result = await call(connection, sql, *arguments, timeout=self._statement_seconds)
        except BaseException as error:
            # Kept only if the server itself ended the statement.
            if isinstance(error, asyncpg.PostgresError) and error.sqlstate[:2] not in _CLOSING_CLASSES:
                self._pool.release(connection)
            else:
                self._pool.discard(connection)
            if _is_away(error, connection):
                raise Unavailable from error
            raise
        self._pool.release(connection)
        return result

    async def _roll_back(self, connection: Connection, transaction: Transaction) -> None:
        """The server rolls back by itself what a lost connection leaves."""
        rolled_back = False
        try:
            with suppress(Exception):
                await transaction.rollback()
                rolled_back = True
        finally:
            (self._pool.release if rolled_back else self._pool.discard)(connection)


class _Transaction(Executor):
    def __init__(self, connection: Connection, statement_seconds: float) -> None:
        self._connection = connection
        self._statement_seconds = statement_seconds
        self._failure: Exception | None = None

    def require_success(self) -> None:
        """Raise the error that the block swallowed: PostgreSQL would take COMMIT as ROLLBACK, and say nothing."""
        if self._failure:
            raise self._failure

    async def _run(self, call: Call, sql: str, arguments: list[Any]) -> Any:
        try:
            return await _call(
                self._connection, call, self._connection, sql, *arguments, timeout=self._statement_seconds
            )
        except Exception as error:
            self._failure = error
            raise


async def _call(connection: Connection, call: Call, *arguments: Any, **options: Any) -> Any:
    try:
        return await call(*arguments, **options)
    except Exception as error:
        if _is_away(error, connection):
            raise Unavailable from error
        raise


def _is_away(error: BaseException, connection: Connection) -> bool:
    """Whether the database's absence caused the error; any other is a defect."""
    if isinstance(error, asyncpg.PostgresError):
        return error.sqlstate[:2] in _AWAY_CLASSES or error.sqlstate in _AWAY_STATES
    # asyncpg raises InternalClientError between the server's goodbye to an idle connection and the connection's end.
    if isinstance(error, OSError | asyncpg.InternalClientError):
        return True
    return isinstance(error, asyncpg.InterfaceError) and connection.is_closed()

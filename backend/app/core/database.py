"""Running statements: one at a time, each its own transaction, or several in one `transaction()`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any, Self, TypeVar

import asyncpg
from asyncpg.transaction import Transaction
from pydantic import BaseModel

from app.core.current_request import current_request
from app.core.errors import Unavailable
from app.core.metrics import STATEMENT, STATEMENT_SECONDS, counts
from app.core.pool import AWAY_CLASSES, LOST, Connect, Connection, Pool
from app.core.statement import Statement

Row = TypeVar("Row", bound=BaseModel)
Call = Callable[..., Awaitable[Any]]

# SQLSTATE (PostgreSQL manual, appendix A) of errors that say, beside those of AWAY_CLASSES, that the database cannot
# serve now, not that the statement is wrong: serialization failure, deadlock, lock not available.
_READ_ONLY = "25006"
_AWAY_STATES = (_READ_ONLY, "40001", "40P01", "55P03")
_SHOW_SECONDS = 1.0
# After errors of these classes the server closes the connection. One that takes no writes any more leads to a server
# that was the primary once: a new connection may lead to the one that is.
_CLOSING_CLASSES = ("08", "57")


class Executor:
    """What can run a statement. Values are given by the names of the statement's `bindparam`s.

    Raises:
        Unavailable: the database is away, or did not answer in time.
        Conflict: other rows forbid it, by a constraint that the statement names.
    """

    async def one(self, statement: Statement[Row], **values: Any) -> Row | None:
        """The first row, or None."""
        record = await self._run(Connection.fetchrow, statement, statement.arguments(values))
        return None if record is None else statement.row(record)

    async def all(self, statement: Statement[Row], **values: Any) -> list[Row]:
        """Every row."""
        records = await self._run(Connection.fetch, statement, statement.arguments(values))
        return statement.rows(records)

    async def execute(self, statement: Statement[Any], **values: Any) -> int:
        """How many rows an INSERT, UPDATE or DELETE touched."""
        tag: str = await self._run(Connection.execute, statement, statement.arguments(values))
        return int(tag.rpartition(" ")[2])

    async def _run(self, call: Call, statement: Statement[Any], arguments: list[Any]) -> Any:
        raise NotImplementedError


class Database(Executor):
    """The process's one pool of connections.

    A statement run here is a transaction of its own: one round trip, and the connection is free again.

    Args:
        connect: opens one connection.
        pool_size: connections at most.
        wait_seconds: how long a request waits for a free connection, opening one included.
        queue_seconds: when a request would wait longer behind others, the database is `overloaded`.
        statement_seconds: how long a statement may take.
    """

    def __init__(
        self, connect: Connect, *, pool_size: int, wait_seconds: float, queue_seconds: float, statement_seconds: float
    ) -> None:
        self._pool = Pool(connect, size=pool_size, wait_seconds=wait_seconds, queue_seconds=queue_seconds)
        self._statement_seconds = statement_seconds
        self._request_seconds = wait_seconds + statement_seconds

    @property
    def overloaded(self) -> bool:
        """Whether more wait for a connection than can be served in time."""
        return self._pool.overloaded

    async def __aenter__(self) -> Self:
        self._showing = asyncio.create_task(self._show_pool())
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._showing.cancel()
        await self._pool.close()

    async def _show_pool(self) -> None:
        """To write down each change would cost every request; nobody asks for the metrics more often than this."""
        while True:
            self._pool.show()
            await asyncio.sleep(_SHOW_SECONDS)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Executor]:
        """Several statements that take effect together, or not at all when the block raises.

        It holds one connection until the block ends: keep waiting for anything else out of it.
        """
        connection = await self._pool.acquire()
        transaction = connection.transaction()
        statements = _Transaction(connection, self._statement_seconds)
        try:
            await _call(connection, "BEGIN", transaction.start)
            yield statements
            statements.require_success()
            await _call(connection, "COMMIT", transaction.commit)
        except Exception as error:
            await self._roll_back(connection, transaction, error)
            raise
        except BaseException:
            self._pool.discard(connection)
            raise
        self._pool.release(connection)

    async def _run(self, call: Call, statement: Statement[Any], arguments: list[Any], *, repeats: bool = True) -> Any:
        started = monotonic()
        connection = await self._pool.acquire()
        began = monotonic()
        try:
            result = await call(connection, statement.sql, *arguments, timeout=self._statement_seconds)
        except BaseException as error:
            _note_statement(statement.sql, monotonic() - began, error)
            _note_failure(error, connection)
            self._give_back(connection, error)
            if conflict := statement.conflict(error):
                raise conflict from error
            if not _is_away(error, connection):
                raise
            if not (repeats and statement.reads and _is_lost(error, connection)):
                raise Unavailable from error
        else:
            self._pool.release(connection)
            _note_statement(statement.sql, monotonic() - began)
            return result
        # Of a write nobody knows whether it took effect; to read again, on another connection, does no harm.
        try:
            async with asyncio.timeout(self._request_seconds - (monotonic() - started)):
                return await self._run(call, statement, arguments, repeats=False)
        except TimeoutError as error:
            raise Unavailable from error

    def _give_back(self, connection: Connection, error: BaseException) -> None:
        """Keep the connection of a failed statement only if the server itself ended the statement."""
        if isinstance(error, asyncpg.PostgresError) and not _is_closing(error):
            self._pool.release(connection)
        else:
            self._discard(connection, error)

    def _discard(self, connection: Connection, error: BaseException | None) -> None:
        if getattr(error, "sqlstate", None) == _READ_ONLY:
            # What was the primary before a failover; the others lead there too, and would read what is out of date.
            self._pool.renew()
        elif isinstance(error, TimeoutError) or _is_lost(error, connection):
            self._pool.distrust()
        self._pool.discard(connection)

    async def _roll_back(self, connection: Connection, transaction: Transaction, error: Exception) -> None:
        """The server rolls back by itself what a lost connection leaves."""
        rolled_back = False
        try:
            with suppress(Exception):
                await transaction.rollback()
                rolled_back = True
        finally:
            cause = error.__cause__ if isinstance(error, Unavailable) else None
            if rolled_back and not (isinstance(cause, asyncpg.PostgresError) and _is_closing(cause)):
                self._pool.release(connection)
            else:
                self._discard(connection, cause)


class _Transaction(Executor):
    def __init__(self, connection: Connection, statement_seconds: float) -> None:
        self._connection = connection
        self._statement_seconds = statement_seconds
        self._failure: Exception | None = None

    def require_success(self) -> None:
        """Raise the error that the block swallowed: PostgreSQL would take COMMIT as ROLLBACK, and say nothing."""
        if self._failure:
            raise self._failure

    async def _run(self, call: Call, statement: Statement[Any], arguments: list[Any]) -> Any:
        try:
            sql = statement.sql
            return await _call(
                self._connection, sql, call, self._connection, sql, *arguments, timeout=self._statement_seconds
            )
        except Exception as error:
            self._failure = statement.conflict(error) or error
            if self._failure is not error:
                raise self._failure from error
            raise


async def _call(connection: Connection, sql: str, call: Call, *arguments: Any, **options: Any) -> Any:
    began = monotonic()
    try:
        result = await call(*arguments, **options)
    except BaseException as error:
        _note_statement(sql, monotonic() - began, error)
        _note_failure(error, connection)
        if _is_away(error, connection):
            raise Unavailable from error
        raise
    _note_statement(sql, monotonic() - began)
    return result


def _note_statement(sql: str, seconds: float, error: BaseException | None = None) -> None:
    counts.observe(STATEMENT, STATEMENT_SECONDS, seconds)
    request = current_request.get()
    if request is not None:
        request.database_seconds += seconds
        if request.span:
            request.span.statement(sql, seconds, error)


def _note_failure(error: BaseException, connection: Connection) -> None:
    if isinstance(error, asyncpg.PostgresError):
        counts.database_error(error.sqlstate[:2])
    elif isinstance(error, TimeoutError):
        counts.database_error("timeout")
    elif _is_away(error, connection):
        counts.database_error(LOST)


def _is_away(error: BaseException, connection: Connection) -> bool:
    """Whether the database's absence caused the error; any other is a defect."""
    if isinstance(error, asyncpg.PostgresError):
        return error.sqlstate[:2] in AWAY_CLASSES or error.sqlstate in _AWAY_STATES
    # asyncpg raises InternalClientError between the server's goodbye to an idle connection and the connection's end.
    if isinstance(error, OSError | asyncpg.InternalClientError):
        return True
    return isinstance(error, asyncpg.InterfaceError) and connection.is_closed()


def _is_lost(error: BaseException | None, connection: Connection) -> bool:
    """Whether the connection ended; a statement that only took too long may have reached the server, and run on."""
    if isinstance(error, TimeoutError):
        return False
    return connection.is_closed() or isinstance(error, asyncpg.InternalClientError)


def _is_closing(error: asyncpg.PostgresError) -> bool:
    """Whether the connection is of no use after the error."""
    return error.sqlstate[:2] in _CLOSING_CLASSES or error.sqlstate == _READ_ONLY

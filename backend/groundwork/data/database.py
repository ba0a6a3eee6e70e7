"""Runs statements: each in a transaction of its own, or several in one transaction."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from random import random
from secrets import token_hex
from time import monotonic
from typing import Any, Literal, Self, TypeVar, get_args

import asyncpg.transaction
from asyncpg import Connection
from pydantic import BaseModel

from groundwork.data import failures
from groundwork.data.pool import Pool
from groundwork.data.reconnection import Connect
from groundwork.data.statement import Statement
from groundwork.errors import Unavailable
from groundwork.observe.current_request import current_request
from groundwork.observe.metrics import LOST, TIMED_OUT, counts
from groundwork.observe.slow_statements import slow_statements

Row = TypeVar("Row", bound=BaseModel)
Result = TypeVar("Result")
Call = Callable[..., Awaitable[Any]]
Isolation = Literal["read_committed", "repeatable_read", "serializable"]

_METRICS_SECONDS = 1.0
# The bounds of the random pause before a transaction that the server rolled back is tried again. The first pause lasts
# at most the shorter time. The bound doubles with each attempt, up to the longer time.
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.001, 0.1


class Executor:
    """Runs statements. A statement's values are passed by the names of its `bindparam`s.

    Raises:
        Unavailable: the database is away, or did not answer in time.
        Conflict: the statement breaks a constraint that it names in `conflicts`.
        TypeError: a value is missing, or the statement has no parameter of its name.
    """

    async def one(self, statement: Statement[Row], **values: Any) -> Row | None:
        """The first row as the statement's model, or None if there is no row."""
        record = await self._run(Connection.fetchrow, statement, statement.arguments(values))
        return None if record is None else statement.row(record)

    async def all(self, statement: Statement[Row], **values: Any) -> list[Row]:
        """Every row as the statement's model."""
        records = await self._run(Connection.fetch, statement, statement.arguments(values))
        return statement.rows(records)

    async def execute(self, statement: Statement[Any], **values: Any) -> int:
        """Run an INSERT, UPDATE or DELETE, and return how many rows it wrote or removed."""
        tag: str = await self._run(Connection.execute, statement, statement.arguments(values))
        return int(tag.rpartition(" ")[2])

    async def _run(self, call: Call, statement: Statement[Any], arguments: list[Any]) -> Any:
        raise NotImplementedError


class Database(Executor):
    """Runs statements on the process's one pool of connections.

    A statement that is run on the database directly is a transaction of its own. It takes one round trip, and holds a
    connection only for that time.

    Args:
        connect: opens one connection.
        pool_size: how many connections there are at most.
        wait_seconds: how long a request waits for a free connection at most, including the time to open one.
        queue_seconds: the database is `overloaded` when one more request would wait longer than this behind others.
        statement_seconds: how long a statement may take.
        open_at_start: how many connections are opened before a request needs them.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        pool_size: int,
        wait_seconds: float,
        queue_seconds: float,
        statement_seconds: float,
        open_at_start: int = 0,
    ) -> None:
        self._pool = Pool(connect, size=pool_size, wait_seconds=wait_seconds, queue_seconds=queue_seconds)
        self._statement_seconds = statement_seconds
        self._request_seconds = wait_seconds + statement_seconds
        self._open_at_start = open_at_start

    @property
    def overloaded(self) -> bool:
        """Whether a request that came now would wait longer than `queue_seconds` for a connection."""
        return self._pool.overloaded

    async def __aenter__(self) -> Self:
        self._publishing = asyncio.create_task(self._publish_metrics())
        self._pool.open_at_start(self._open_at_start)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._publishing.cancel()
        await self._pool.close()

    async def lend(self) -> Connection:
        """A connection for code that runs statements in its own way. `take_back` must get it back.

        Raises:
            Unavailable: as for a statement.
        """
        return await self._pool.acquire()

    def take_back(self, connection: Connection, error: BaseException | None) -> None:
        """Take back a connection that was lent.

        Args:
            error: the error of the last statement, if it failed. If the connection can still be used after this error,
                the caller has ended its transaction.
        """
        if error is None:
            self._pool.release(connection)
        elif not failures.is_usable_after(error, connection):
            self._discard(connection, error)
        # A read-only server may be the former primary after a failover. The idle connections may lead to it too.
        elif getattr(error, "sqlstate", None) == failures.READ_ONLY and self._pool.replace_after_failover():
            self._pool.discard(connection)
        else:
            self._pool.release(connection)

    async def _publish_metrics(self) -> None:
        """Publish the pool's gauges every second. Writing each change at once would cost every request a little."""
        while True:
            self._pool.publish_metrics()
            await asyncio.sleep(_METRICS_SECONDS)

    async def run_in_transaction(
        self,
        work: Callable[["Transaction"], Awaitable[Result]],
        *,
        isolation: Isolation | None = None,
        retries: int | None = None,
    ) -> Result:
        """Run `work` in a transaction. Its statements take effect together, or not at all when it raises.

        When the server rolls the transaction back because it collided with another one, or because the schema has
        changed, `work` is called again. So `work` should do nothing but run statements. It should not wait for
        anything else either, because it holds a connection.

        Args:
            isolation: PostgreSQL's isolation level. None takes the database's default, usually `read_committed`.
            retries: how often `work` is called again at most. None goes on for as long as a request may take.

        Returns:
            What `work` returns.

        Raises:
            Unavailable: the database is away, or did not answer in time, or rolled back every attempt.
            ValueError: there is no such isolation level, or `retries` is negative.
        """
        if retries is not None and retries < 0:
            raise ValueError(f"retries is {retries}: give 0 or more, or None for as many as a request has time for")

        async def attempt() -> Result:
            async with self.transaction(isolation=isolation) as statements:
                return await work(statements)

        started = monotonic()
        try:
            return await attempt()
        except Exception as error:
            if retries == 0 or not failures.may_be_repeated(error):
                raise
        return await self._repeat(attempt, started, retries)

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation | None = None, readonly: bool = False
    ) -> AsyncIterator["Transaction"]:
        """A transaction around a block. The block cannot be repeated.

        Args:
            isolation: as in `run_in_transaction`.
            readonly: the server refuses to write.

        Raises:
            Unavailable: as for `run_in_transaction`, and also where `run_in_transaction` would repeat the work.
        """
        connection = await self._pool.acquire()
        try:
            transaction = connection.transaction(isolation=isolation, readonly=readonly)
        except ValueError:
            self._pool.release(connection)
            raise ValueError(f"isolation is {isolation!r}: give one of {', '.join(get_args(Isolation))}") from None
        statements = Transaction(connection, self._statement_seconds)
        await self._control(connection, "BEGIN", transaction.start)
        try:
            yield statements
            statements.require_success()
        except Exception as error:
            await self._roll_back(connection, transaction, error)
            raise
        except BaseException:
            self._pool.discard(connection)
            raise
        await self._control(connection, "COMMIT", transaction.commit)
        self._pool.release(connection)

    async def _run(self, call: Call, statement: Statement[Any], arguments: list[Any], *, repeats: bool = True) -> Any:
        started = monotonic()
        # Most statements find an idle connection. For them, the coroutine `acquire` would be an additional cost.
        connection = self._pool.acquire_at_once() or await self._pool.acquire()
        began = monotonic()
        try:
            result = await call(connection, statement.sql, *arguments, timeout=self._statement_seconds)
        except BaseException as error:
            note_statement(statement.name, statement.sql, monotonic() - began, error)
            note_failure(error, connection)
            await self._give_back(connection, error)
            translated = statement.conflict(error) or failures.meaning(error, connection)
            # When a connection is lost, nobody knows whether a write took effect. A read can be repeated in any case.
            harmless = failures.may_be_repeated(translated) or (statement.reads and failures.is_lost(error, connection))
            if not (repeats and harmless):
                if translated is error:
                    raise
                raise translated from error
        else:
            self._pool.release(connection)
            note_statement(statement.name, statement.sql, monotonic() - began, None, result)
            return result
        return await self._repeat(partial(self._run, call, statement, arguments, repeats=False), started)

    async def _repeat(
        self, attempt: Callable[[], Awaitable[Result]], started: float, retries: int | None = None
    ) -> Result:
        """Try again until the server does not roll back, or until the request's time or the retries are over."""
        failure = Unavailable()
        limit = asyncio.timeout(self._request_seconds - (monotonic() - started))
        try:
            async with limit:
                for pause_seconds in islice(_pauses(), retries):
                    try:
                        return await attempt()
                    except failures.RolledBack as error:
                        failure = error
                    await asyncio.sleep(pause_seconds)
        except TimeoutError as error:
            if not limit.expired():
                raise
            failure.__cause__ = failure.__cause__ or error
        raise failure

    async def _control(self, connection: Connection, command: str, call: Call) -> None:
        """Begin or commit. When that fails, give the connection back."""
        try:
            await _call(connection, command, command, call)
        except BaseException as error:
            await self._give_back(connection, error.__cause__ or error)
            raise

    async def _give_back(self, connection: Connection, error: BaseException | None) -> None:
        """Give a connection back. After an error, it is kept only if the server itself ended the statement."""
        if failures.is_outdated(error):
            await self._pool.forget_statements()
        self.take_back(connection, error)

    def _discard(self, connection: Connection, error: BaseException | None) -> None:
        if isinstance(error, TimeoutError) or failures.is_lost(error, connection):
            self._pool.revalidate_idle()
        self._pool.discard(connection)

    async def _roll_back(
        self, connection: Connection, transaction: asyncpg.transaction.Transaction, error: Exception
    ) -> None:
        """Roll back and give the connection back. After a lost connection the server rolls back by itself."""
        cause = error.__cause__ if isinstance(error, Unavailable) else error
        try:
            await transaction.rollback()
        except BaseException as failure:
            self._discard(connection, cause)
            if not isinstance(failure, Exception):
                raise
        else:
            await self._give_back(connection, cause if isinstance(cause, asyncpg.PostgresError) else None)


def _pauses() -> Iterator[float]:
    """Seconds between attempts. They are random, so that transactions that collided do not collide again."""
    longest = _SHORTEST_PAUSE_SECONDS
    while True:
        yield longest * random()  # noqa: S311 - no secret
        longest = min(2 * longest, _LONGEST_PAUSE_SECONDS)


class Transaction(Executor):
    """Runs statements in a transaction."""

    def __init__(self, connection: Connection, statement_seconds: float) -> None:
        self._connection = connection
        self._statement_seconds = statement_seconds
        self._failure: Exception | None = None

    def require_success(self) -> None:
        """Raise an earlier error that the block swallowed: PostgreSQL would answer COMMIT with a silent ROLLBACK."""
        if self._failure:
            raise self._failure

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part of the transaction that is undone alone if the block raises. The transaction then goes on.

        A collision with another transaction undoes the whole transaction.
        """
        self.require_success()
        savepoint = self._connection.transaction()
        await _call(self._connection, "SAVEPOINT", "SAVEPOINT", savepoint.start)
        try:
            yield
            self.require_success()
        except Exception as error:
            if isinstance(error, Unavailable):
                raise
            await _call(self._connection, "ROLLBACK TO SAVEPOINT", "ROLLBACK TO SAVEPOINT", savepoint.rollback)
            self._failure = None
            raise
        await _call(self._connection, "RELEASE SAVEPOINT", "RELEASE SAVEPOINT", savepoint.commit)

    async def stream(self, statement: Statement[Row], *, rows_at_once: int = 500, **values: Any) -> AsyncIterator[Row]:
        """Every row of a select, from a cursor. Only `rows_at_once` rows are in memory at a time.

        The transaction's isolation decides what later changes the rows show: with `repeatable_read`, none.
        """
        arguments = statement.arguments(values)
        # The name is new each time. For a text that it knows, the driver would assume the types of an older cursor.
        name = f"stream_{token_hex(6)}"
        await self._run(Connection.execute, statement.as_text(f"DECLARE {name} CURSOR FOR {statement.sql}"), arguments)
        fetch = statement.as_text(f"FETCH {rows_at_once} FROM {name}")
        while records := await self._run(Connection.fetch, fetch, []):
            for row in statement.rows(records):
                yield row
        await self._run(Connection.execute, statement.as_text(f"CLOSE {name}"), [])

    async def _run(self, call: Call, statement: Statement[Any], arguments: list[Any]) -> Any:
        self.require_success()
        sql, timeout = statement.sql, self._statement_seconds
        try:
            return await _call(
                self._connection, statement.name, sql, call, self._connection, sql, *arguments, timeout=timeout
            )
        except Exception as error:
            self._failure = statement.conflict(error) or error
            if self._failure is not error:
                raise self._failure from error
            raise
        except BaseException as error:
            # Cancelled, perhaps by a timeout inside the block. It is unknown whether the server ran the statement.
            self._failure = Unavailable()
            self._failure.__cause__ = error
            raise


async def _call(connection: Connection, name: str, sql: str, call: Call, *arguments: Any, **options: Any) -> Any:
    began = monotonic()
    try:
        result = await call(*arguments, **options)
    except BaseException as error:
        note_statement(name, sql, monotonic() - began, error)
        note_failure(error, connection)
        translated = failures.meaning(error, connection)
        if translated is error:
            raise
        raise translated from error
    note_statement(name, sql, monotonic() - began, None, result)
    return result


def note_statement(name: str, sql: str, seconds: float, error: BaseException | None = None, result: Any = None) -> None:
    """Count a statement that has just ended, and add its time to the request's."""
    counts.statement(name, seconds)
    if seconds >= slow_statements.limit_seconds:
        slow_statements.report(name, seconds, result)
    request = current_request.get()
    if request is not None:
        request.database_seconds += seconds
        if request.span:
            request.span.statement(sql, seconds, error)


def note_failure(error: BaseException, connection: Connection) -> None:
    """Count an error of the database by its class."""
    if isinstance(error, asyncpg.PostgresError):
        counts.database_error(error.sqlstate[:2])
    elif isinstance(error, TimeoutError):
        counts.database_error(TIMED_OUT)
    elif failures.is_away(error, connection):
        counts.database_error(LOST)

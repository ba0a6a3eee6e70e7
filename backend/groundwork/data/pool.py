"""A pool of asyncpg connections that serves first come, first served.

asyncpg's own pool costs about as much CPU per call as the query itself, and lets a waiting request be overtaken. Here a
connection that is given back goes straight to whoever has waited longest, and only a request that finds none idle
waits at all. Connections are opened when they are first needed, up to the pool's size, each by a task of its own, so
that a request that gives up or is cancelled neither loses nor leaks one.

While the database is away, those who wait go on waiting: attempts to connect follow each other at a pace that it can
bear, whether they fail or hang, and the first that succeeds ends the wait. Once it has been away for longer than a
request may wait, a request waits for one attempt only.

The pool's size bounds the sessions that the server may have to count: those in use, idle or being checked, those that
are being closed, and every attempt to open another, also one that hangs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any

import asyncpg
from sqlalchemy import literal_column, select

from groundwork.data.failures import AWAY_CLASSES, is_usable_after
from groundwork.data.waiters import Waiters
from groundwork.errors import Unavailable
from groundwork.observe.current_request import current_request
from groundwork.observe.metrics import (
    CHECKOUT,
    CHECKOUT_SECONDS,
    POOL_IDLE,
    POOL_IN_USE,
    POOL_OPENING,
    POOL_SIZE,
    POOL_WAITING,
    counts,
)

Connection = asyncpg.Connection
Connect = Callable[[], Awaitable[Connection]]

CONNECTION_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What opening a connection fails with when the database is away, refuses or does not answer."""

LOST = "connection"
"""Of a connection that was lost or refused, what the metrics say in place of a class."""

_CLOSE_SECONDS = 5.0
# A close waits for the statement's cancellation to reach the server. Of one that takes longer the server may be silent,
# and the session gone: another may take its place.
_CLOSING_SECONDS = 1.0
# A firewall, or a database that was put to sleep, drops a connection without a word, but none within so short a time.
_TRUSTED_SECONDS = 5.0
_CHECK_SECONDS = 1.0
_CHECK = str(select(literal_column("1")))
# After an attempt to connect has failed, the next follows so much later: twice as much each time.
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.02, 0.25
# An attempt may hang for good while the database is back: another is made beside it, where the size has room.
_HANGING_SECONDS = 0.5
# At most so often, connections to a server that takes no writes are replaced.
_RENEWAL_SECONDS = 0.5
# Where it has none, the attempt gives way after half of what a request waits, so that it is served by the next one.
_SHORTEST_ATTEMPT_SECONDS = 1.0
# The first bucket of the time that a request waits.
_AT_ONCE = CHECKOUT + 1


class Pool:
    """At most `size` connections; a request waits `wait_seconds` for one at most.

    Args:
        connect: opens one connection; gives up after a bounded time of its own.
        queue_seconds: to wait longer behind others is to be `overloaded`.
    """

    def __init__(self, connect: Connect, *, size: int, wait_seconds: float, queue_seconds: float) -> None:
        self._connect = connect
        self._size = size
        self._wait_seconds = wait_seconds
        self._attempt_seconds = max(wait_seconds / 2, _SHORTEST_ATTEMPT_SECONDS)
        # Each with the time when it was given back. The connection used last is used next: few of them stay busy, which
        # keeps PostgreSQL's caches warm, and none is trusted longer than the last.
        self._idle: list[tuple[Connection, float]] = []
        self._trusted_since = 0.0
        self._renewed = -_RENEWAL_SECONDS
        self._waiters = Waiters(wait_seconds)
        self._waiting = self._waiters.deadlines
        self._queue_seconds = queue_seconds
        self._open: set[Connection] = set()  # in use, idle or being checked
        # After a failover some lead to what was the primary once, and read what is out of date.
        self._retired: set[Connection] = set()
        self._demoted = False
        self._attempts: set[asyncio.Task[Any]] = set()
        self._hanging: set[asyncio.Task[Any]] = set()  # of the attempts
        self._checking = 0
        self._closing = 0
        self._away_since: float | None = None
        self._pause_seconds = _SHORTEST_PAUSE_SECONDS
        self._next_attempt: asyncio.TimerHandle | None = None
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def overloaded(self) -> bool:
        """Whether a request that came now would wait too long behind others, once there are connections."""
        return bool(self._waiting) and self._waiters.queue_estimate.seconds(len(self._waiting)) > self._queue_seconds

    async def acquire(self) -> Connection:
        """A connection that nobody else has.

        Raises:
            Unavailable: none could be opened, or none came free within `wait_seconds`.
        """
        while self._idle:
            connection, since = self._idle[-1]
            if since < self._trusted_since or since < monotonic() - _TRUSTED_SECONDS:
                break
            self._idle.pop()
            if not connection.is_closed():
                counts.values[_AT_ONCE] += 1
                return connection
            self._open.discard(connection)
        if self._closed:
            raise Unavailable from RuntimeError("the pool is closed")
        return await self._wait()

    def release(self, connection: Connection) -> None:
        """Give back a connection that is ready for the next statement."""
        if connection.is_closed():
            self._forget(connection)
            return
        if self._retired and connection in self._retired:
            self.discard(connection)
            return
        if self._waiting and self._waiters.serve(connection):
            return
        if self._closed:
            self.discard(connection)
        else:
            self._idle.append((connection, monotonic()))

    def discard(self, connection: Connection) -> None:
        """Give back a connection whose state is unknown: it is closed, and its statement cancelled if one runs."""
        self._begin_closing(connection)
        self._forget(connection)

    def revalidate_idle(self) -> None:
        """Check each connection that is idle now before it is used: another was lost, and they may be too."""
        self._trusted_since = monotonic()

    def replace_after_failover(self) -> bool:
        """A connection leads to a server that takes no writes, and a new one may lead to the one that does.

        Idle connections are closed; not too often, as others may be no better. Once one is, it alone is kept: what is
        written on it must be there for whoever reads next.

        Returns:
            Whether the connection itself is to be closed too.
        """
        self._demoted = True
        now = monotonic()
        if now - self._renewed < _RENEWAL_SECONDS:
            return False
        self._renewed = now
        self._discard_idle()
        return True

    async def forget_statements(self) -> None:
        """Let every connection prepare its statements anew: those that it keeps may no longer fit the schema."""
        for connection in list(self._open):
            await connection.reload_schema_state()  # which sends nothing

    def publish_metrics(self) -> None:
        """Tell the metrics what the pool is doing now."""
        counts.values[POOL_SIZE] = self._size
        counts.values[POOL_IN_USE] = len(self._open) - len(self._idle)
        counts.values[POOL_IDLE] = len(self._idle)
        counts.values[POOL_OPENING] = len(self._attempts)
        counts.values[POOL_WAITING] = len(self._waiting)

    async def close(self) -> None:
        """Close idle connections now, and those in use as they are given back."""
        self._closed = True
        if self._next_attempt:
            self._next_attempt.cancel()
        self._waiters.fail(RuntimeError("the pool is closed"))
        self._discard_idle()
        for attempt in self._attempts:
            attempt.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _wait(self) -> Connection:
        waiter = self._waiters.join()
        self._serve_waiters()
        began = monotonic()
        try:
            return await waiter
        except asyncio.CancelledError:
            self._waiters.leave(waiter)
            # The hand-over and the cancellation can meet in one turn of the loop.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())
            raise
        finally:
            _note_wait(monotonic() - began)

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._retired.discard(connection)
        self._serve_waiters()

    def _serve_waiters(self) -> None:
        """Begin to check idle connections, then to open new ones, until there is one on the way to each who waits."""
        while self._idle and self._checking < len(self._waiting):
            self._checking += 1
            self._start(self._check_one(*self._idle.pop()))
        if self._closed or self._next_attempt:
            return
        while len(self._open) + len(self._attempts) + self._closing < self._size and self._is_wanted():
            self._begin_opening()

    def _is_wanted(self) -> bool:
        """Whether to open another connection for those who wait."""
        hopeful = len(self._attempts) - len(self._hanging)
        if self._checking + hopeful >= len(self._waiting):
            return False
        # One at a time, until one shows that the database is there: it may be coming up under the load of everyone.
        return bool(self._open) or hopeful == 0

    def _begin_opening(self) -> None:
        attempt = self._start(self._open_one())
        self._attempts.add(attempt)
        asyncio.get_running_loop().call_later(_HANGING_SECONDS, self._note_hanging, attempt)

    def _note_hanging(self, attempt: asyncio.Task[None]) -> None:
        if attempt in self._attempts:
            self._hanging.add(attempt)
            self._serve_waiters()

    async def _open_one(self) -> None:
        try:
            connection = await self._attempt()
        except Exception as error:
            self._note_failure(error)
        else:
            self._note_success()
            if not self._open:
                self._waiters.measure_anew()
            if self._demoted and _takes_writes(connection):
                self._retire_all()
            self._open.add(connection)
            self.release(connection)
            self._serve_waiters()

    async def _attempt(self) -> Connection:
        try:
            async with asyncio.timeout(self._attempt_seconds):
                return await self._connect()
        finally:
            if attempt := asyncio.current_task():
                self._attempts.discard(attempt)
                self._hanging.discard(attempt)

    def _note_success(self) -> None:
        self._waiters.late = self._away_since = None
        self._pause_seconds = _SHORTEST_PAUSE_SECONDS
        if self._next_attempt:
            self._next_attempt.cancel()
            self._next_attempt = None

    def _note_failure(self, error: Exception) -> None:
        counts.database_error(error.sqlstate[:2] if isinstance(error, asyncpg.PostgresError) else LOST)
        self._waiters.late = error
        if not self._open:  # else those who wait are served by the connections that work
            now = monotonic()
            self._away_since = self._away_since or now
            if now - self._away_since >= self._wait_seconds or not may_pass(error):
                self._waiters.fail(error)
        self._attempt_again_in(self._pause_seconds)
        self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _attempt_again_in(self, seconds: float) -> None:
        if self._next_attempt:
            self._next_attempt.cancel()
        if not self._closed:
            self._next_attempt = asyncio.get_running_loop().call_later(seconds, self._attempt_again)

    def _attempt_again(self) -> None:
        self._next_attempt = None
        self._serve_waiters()

    async def _check_one(self, connection: Connection, since: float) -> None:
        answers = await _answers(connection)
        self._checking -= 1
        if answers:
            self.release(connection)
            self._serve_waiters()
        else:
            counts.database_error(LOST)
            # The others have been idle as long or longer: to find that out one by one would cost a request too much.
            # None has a statement to cancel, and a server that is there sees that they end.
            for idle, _ in self._idle:
                idle.terminate()
                self._open.discard(idle)
            self._idle.clear()
            connection.terminate()
            self._forget(connection)

    def _discard_idle(self) -> None:
        for connection, _ in self._idle:
            self._begin_closing(connection)
            self._open.discard(connection)
        self._idle.clear()

    def _retire_all(self) -> None:
        """Close the connections that there are: those in use when they are given back."""
        self._demoted = False
        self._discard_idle()
        self._retired |= self._open

    def _begin_closing(self, connection: Connection) -> None:
        self._closing += 1
        self._start(self._close_one(connection))

    async def _close_one(self, connection: Connection) -> None:
        await asyncio.wait([self._start(_close(connection))], timeout=_CLOSING_SECONDS)
        self._closing -= 1
        self._serve_waiters()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def may_pass(error: Exception) -> bool:
    """Whether a failed attempt to connect can be followed by a better one soon; a wrong password cannot."""
    if isinstance(error, asyncpg.PostgresError):
        return error.sqlstate[:2] in AWAY_CLASSES
    # The second: of several servers none is the primary yet.
    return isinstance(error, OSError | asyncpg.TargetServerAttributeNotMatched)


def _takes_writes(connection: Connection) -> bool:
    """What the server said of itself when the connection was opened, or since (PostgreSQL 14 and newer)."""
    settings = connection.get_settings()
    read_only = [getattr(settings, name, None) for name in ("default_transaction_read_only", "in_hot_standby")]
    return read_only == ["off", "off"]


def _note_wait(seconds: float) -> None:
    counts.observe(CHECKOUT, CHECKOUT_SECONDS, seconds)
    request = current_request.get()
    if request is not None:
        request.pool_seconds += seconds


async def _answers(connection: Connection) -> bool:
    try:
        await connection.execute(_CHECK, timeout=_CHECK_SECONDS)
    except Exception as error:
        return is_usable_after(error, connection)  # an error of the server's is an answer too
    return True


async def _close(connection: Connection) -> None:
    try:
        # asyncpg's close() lets a pending cancel request reach the server first.
        await connection.close(timeout=_CLOSE_SECONDS)
    except (*CONNECTION_ERRORS, asyncio.CancelledError):
        connection.terminate()

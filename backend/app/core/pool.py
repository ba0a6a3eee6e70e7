"""A pool of asyncpg connections that serves first come, first served.

asyncpg's own pool costs about as much CPU per call as the query itself, and lets a waiting request be overtaken. Here a
connection that is given back goes straight to whoever has waited longest, and only a request that finds none idle
waits at all. Connections are opened when they are first needed, up to the pool's size, each by a task of its own, so
that a request that gives up or is cancelled neither loses nor leaks one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from app.core.errors import Unavailable

Connection = asyncpg.Connection
Connect = Callable[[], Awaitable[Connection]]
Waiter = asyncio.Future[Connection]

CONNECTION_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What opening a connection fails with when the database is away, refuses or does not answer."""

_CLOSE_SECONDS = 5.0


class Pool:
    """At most `size` connections; a request waits `wait_seconds` for one at most.

    Args:
        connect: opens one connection; gives up after a bounded time of its own.
    """

    def __init__(self, connect: Connect, *, size: int, wait_seconds: float) -> None:
        self._connect = connect
        self._size = size
        self._wait_seconds = wait_seconds
        # The connection used last is used next: few of them stay busy, which keeps PostgreSQL's caches warm.
        self._idle: list[Connection] = []
        self._waiters: deque[tuple[float, Waiter]] = deque()
        self._expiry: asyncio.TimerHandle | None = None
        self._open = 0  # in use, idle or being opened
        self._opening = 0
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def acquire(self) -> Connection:
        """A connection that nobody else has.

        Raises:
            Unavailable: none could be opened, or none came free within `wait_seconds`.
        """
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._open -= 1
        if self._closed:
            raise Unavailable from RuntimeError("the pool is closed")
        return await self._wait()

    def release(self, connection: Connection) -> None:
        """Give back a connection that is ready for the next statement."""
        if connection.is_closed():
            self._forget()
            return
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
        elif self._closed:
            self.discard(connection)
        else:
            self._idle.append(connection)

    def discard(self, connection: Connection) -> None:
        """Give back a connection whose state is unknown: it is closed, and its statement cancelled if one runs."""
        self._start(_close(connection))
        self._forget()

    async def close(self) -> None:
        """Close idle connections now, and those in use as they are given back."""
        self._closed = True
        self._fail_waiters(RuntimeError("the pool is closed"))
        while self._idle:
            self.discard(self._idle.pop())
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _wait(self) -> Connection:
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        self._waiters.append((loop.time() + self._wait_seconds, waiter))
        self._open_for_waiters()
        if self._expiry is None:
            self._expiry = loop.call_later(self._wait_seconds, self._expire)
        try:
            return await waiter
        except asyncio.CancelledError:
            # The hand-over and the cancellation can meet in one turn of the loop.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())
            raise

    def _next_waiter(self) -> Waiter | None:
        while self._waiters:
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _expire(self) -> None:
        """Fail those who waited too long. All wait equally long, so only the head of the queue can be due."""
        loop = asyncio.get_running_loop()
        self._expiry = None
        while self._waiters:
            deadline, waiter = self._waiters[0]
            if not waiter.done() and deadline > loop.time():
                self._expiry = loop.call_at(deadline, self._expire)
                return
            self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(_unavailable(TimeoutError(f"no connection came free in {self._wait_seconds} s")))

    def _fail_waiters(self, cause: BaseException) -> None:
        while (waiter := self._next_waiter()) is not None:
            waiter.set_exception(_unavailable(cause))

    def _forget(self) -> None:
        self._open -= 1
        self._open_for_waiters()

    def _open_for_waiters(self) -> None:
        while self._open < self._size and self._opening < len(self._waiters) and not self._closed:
            self._open += 1
            self._opening += 1
            self._start(self._open_one())

    async def _open_one(self) -> None:
        try:
            connection = await self._connect()
        except Exception as error:
            self._opening -= 1
            self._open -= 1
            # While other connections work, those who wait are served by them.
            if self._open == 0:
                self._fail_waiters(error)
        else:
            self._opening -= 1
            self.release(connection)

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _unavailable(cause: BaseException) -> Unavailable:
    error = Unavailable()
    error.__cause__ = cause
    return error


async def _close(connection: Connection) -> None:
    try:
        # asyncpg's close() lets a pending cancel request reach the server first.
        await connection.close(timeout=_CLOSE_SECONDS)
    except (*CONNECTION_ERRORS, asyncio.CancelledError):
        connection.terminate()

"""A pool of asyncpg connections that serves first come, first served.

asyncpg's own pool costs about as much CPU per call as the query itself, and a new request can overtake one that waits.
Here, a connection that is given back goes straight to the request that has waited longest (`waiters`). A request that
finds an idle connection does not wait.

Connections are opened when they are first needed, up to the pool's size. Each is opened by a task of its own
(`reconnection`), so a request that gives up or is cancelled neither loses nor leaks one. While the database is away,
requests go on waiting, and the first successful attempt to connect ends the wait. Once the database has been away for
longer than a request may wait, each request waits for one attempt only.

The pool's size bounds the sessions that count against the server's limit: connections that are in use, idle, being
checked or being closed (`background`), and all attempts to connect, including those that hang.
"""

import asyncio
from time import monotonic

from asyncpg import Connection

from groundwork.data.background import BackgroundTasks, answers, close
from groundwork.data.failover import Failover
from groundwork.data.reconnection import Connect, Reconnection
from groundwork.data.waiters import Waiters
from groundwork.errors import Unavailable
from groundwork.observe import metrics
from groundwork.observe.current_request import current_request
from groundwork.observe.metrics import LOST, counts

# An idle connection can be dropped silently, by a firewall or by a database that goes to sleep, but not this soon.
_TRUSTED_SECONDS = 5.0
# A close waits until the cancellation of a running statement has reached the server. If it takes longer than this, the
# server is probably gone and the session with it, so another connection may take its place.
_COUNTED_SECONDS = 1.0
# The first bucket of the histogram of waits counts the requests that do not wait.
_AT_ONCE = metrics.CHECKOUT + 1


class Pool:
    """Hands out connections, each to one request at a time.

    Args:
        connect: opens one connection, and gives up after a limited time.
        size: how many connections there are at most.
        wait_seconds: how long a request waits for a connection at most.
        queue_seconds: the pool is `overloaded` when one more request would wait longer than this behind the others.
    """

    def __init__(self, connect: Connect, *, size: int, wait_seconds: float, queue_seconds: float) -> None:
        self._size = size
        # Connections with the times when they were given back, oldest first. The connection that was used last is used
        # next, so few connections stay busy. That keeps PostgreSQL's caches warm.
        self._idle: list[tuple[Connection, float]] = []
        self._trusted_since = 0.0  # idle connections that were given back earlier are checked first
        self._open: set[Connection] = set()  # in use, idle or being checked
        self._closed = False
        self._unopened = 0  # how many of `open_at_start` are still to be opened
        self._waiters = Waiters(wait_seconds, queue_seconds)
        self._waiting = self._waiters.deadlines
        self._failover = Failover()
        # Connections to close when they are given back: they may lead to the former primary, which lacks new rows.
        self._retired: set[Connection] = set()
        self._tasks = BackgroundTasks()
        self._checking = 0  # how many idle connections are being checked
        self._closing = 0  # how many closed sessions the server may still count against its limit
        self._reconnection = Reconnection(
            connect,
            self._tasks,
            wait_seconds=wait_seconds,
            opened=self._admit,
            failed=self._note_failure,
            resumed=self._serve_waiters,
        )

    def open_at_start(self, count: int) -> None:
        """Open connections before a request needs them. If one cannot be opened, the rest are opened on demand.

        Args:
            count: how many, at most the pool's size. The first is opened alone, and then all others.
        """
        self._unopened = min(count, self._size)
        self._open_more(self._unopened)

    @property
    def overloaded(self) -> bool:
        """Whether a new request would wait longer than `queue_seconds` behind others, not counting time to connect."""
        return bool(self._waiting) and self._waiters.is_too_long()

    async def acquire(self) -> Connection:
        """A connection that nobody else has.

        Raises:
            Unavailable: none could be opened, or none came free within `wait_seconds`.
        """
        connection = self.acquire_at_once()
        if connection is not None:
            return connection
        if self._closed:
            raise Unavailable from RuntimeError("the pool is closed")
        return await self._wait()

    def acquire_at_once(self) -> Connection | None:
        """A connection that is idle and needs no check, or None."""
        while self._idle:
            connection, since = self._idle[-1]
            if since < self._trusted_since or since < monotonic() - _TRUSTED_SECONDS:
                break
            self._idle.pop()
            if not connection.is_closed():
                counts.values[_AT_ONCE] += 1
                return connection
            self._open.discard(connection)
        return None

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
        """Close a connection whose state is unknown. A statement that runs on it is cancelled."""
        self._begin_close(connection)
        self._forget(connection)

    def revalidate_idle(self) -> None:
        """Check each idle connection before its next use. One was lost, so the others may be lost too."""
        self._trusted_since = monotonic()

    def replace_after_failover(self) -> bool:
        """Close the idle connections after a refused write, because new ones may lead to the new primary.

        This is not done too often, because new ones may lead to the same server again. Once a new connection takes
        writes, all older ones are closed: they may lead to the former primary, which lacks the newest rows.

        Returns:
            Whether the caller should discard its own connection too.
        """
        replace = self._failover.note_refused_write()
        if replace:
            self._discard_idle()
        return replace

    async def forget_statements(self) -> None:
        """Make every connection prepare its statements again, because they may no longer fit the schema."""
        for connection in list(self._open):
            await connection.reload_schema_state()  # sends nothing to the server

    def publish_metrics(self) -> None:
        """Write the pool's state into the gauges of this process."""
        counts.values[metrics.POOL_SIZE] = self._size
        counts.values[metrics.POOL_IN_USE] = len(self._open) - len(self._idle)
        counts.values[metrics.POOL_IDLE] = len(self._idle)
        counts.values[metrics.POOL_OPENING] = len(self._reconnection.attempts)
        counts.values[metrics.POOL_WAITING] = len(self._waiting)

    async def close(self) -> None:
        """Close idle connections now, and those in use when they are given back."""
        self._closed = True
        self._waiters.fail(RuntimeError("the pool is closed"))
        self._discard_idle()
        self._reconnection.close()
        await self._tasks.wait()

    async def _wait(self) -> Connection:
        waiter = self._waiters.join()
        self._serve_waiters()
        began = monotonic()
        try:
            return await waiter
        except asyncio.CancelledError:
            self._waiters.leave(waiter)
            # The connection may have been handed over in the same turn of the event loop.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())
            raise
        finally:
            _note_wait(monotonic() - began)

    def _serve_waiters(self) -> None:
        """Check idle connections and open new ones, until one is on its way for each request that waits."""
        while self._idle and self._checking < len(self._waiting):
            connection, _ = self._idle.pop()
            self._checking += 1
            self._tasks.start(self._check(connection))
        self._open_more(len(self._waiting) - self._checking)

    def _open_more(self, wanted: int) -> None:
        room = self._size - len(self._open) - self._closing
        self._reconnection.open(wanted, room, is_away=not self._open)

    async def _check(self, connection: Connection) -> None:
        is_alive = await answers(connection)
        self._checking -= 1
        if is_alive:
            self._supply(connection)
        else:
            counts.database_error(LOST)
            self._drop(connection)

    def _admit(self, connection: Connection) -> None:
        """Add a connection that was just opened."""
        self._waiters.note_opened(is_first=not self._open)
        if self._failover.ends_with(connection):
            self._discard_idle()
            self._retired |= self._open
        self._open.add(connection)
        if self._idle:
            # No request waits. The new connection has no prepared statements yet, so the others are used first. It
            # gets the time of the oldest one, because the list is ordered by time.
            self._idle.insert(0, (connection, self._idle[0][1]))
        else:
            self._supply(connection)
        if self._unopened:
            self._unopened -= 1
            self._open_more(self._unopened)

    def _supply(self, connection: Connection) -> None:
        """Let a connection that was opened or checked serve the next request."""
        self.release(connection)
        self._serve_waiters()

    def _note_failure(self, error: Exception) -> None:
        self._unopened = 0
        self._waiters.note_failure(error, is_away=not self._open)

    def _drop(self, connection: Connection) -> None:
        """Drop a lost connection and all idle ones.

        The idle ones have been idle for at least as long, so they are probably lost too. Checking them one by one would
        take too long for the requests that wait. They run no statement to cancel, so they are terminated at once.
        """
        for idle, _ in self._idle:
            idle.terminate()
            self._open.discard(idle)
        self._idle.clear()
        connection.terminate()
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._retired.discard(connection)
        self._serve_waiters()

    def _begin_close(self, connection: Connection) -> None:
        self._closing += 1
        self._tasks.start(self._close(connection))

    async def _close(self, connection: Connection) -> None:
        await asyncio.wait([self._tasks.start(close(connection))], timeout=_COUNTED_SECONDS)
        self._closing -= 1
        self._serve_waiters()

    def _discard_idle(self) -> None:
        for connection, _ in self._idle:
            self._begin_close(connection)
            self._open.discard(connection)
        self._idle.clear()


def _note_wait(seconds: float) -> None:
    counts.observe(metrics.CHECKOUT, metrics.CHECKOUT_SECONDS, seconds)
    request = current_request.get()
    if request is not None:
        request.pool_seconds += seconds

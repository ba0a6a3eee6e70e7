"""The queue in front of the pool: requests that wait for a connection, first come, first served."""

import asyncio
from collections import OrderedDict
from time import monotonic

from asyncpg import Connection

from groundwork.data.failures import is_transient
from groundwork.data.queue_estimate import QueueEstimate
from groundwork.errors import Unavailable

Waiter = asyncio.Future[Connection]


class Waiters:
    """Requests that wait for a connection, in the order in which they came.

    Args:
        wait_seconds: how long a request waits at most.
        queue_seconds: the queue is too long when one more request would wait longer than this behind the others.
    """

    def __init__(self, wait_seconds: float, queue_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._queue_seconds = queue_seconds
        self.deadlines: OrderedDict[Waiter, float] = OrderedDict()
        """The waiters and their deadlines, in order. A cancelled waiter is removed from the middle in constant time."""
        self._queue_estimate = QueueEstimate()
        self._expiry: asyncio.TimerHandle | None = None
        self._failure: Exception | None = None  # the error of the last attempt to connect; None after a success
        self._away_since: float | None = None

    def is_too_long(self) -> bool:
        """Whether one more request would wait too long behind the others."""
        return self._queue_estimate.seconds(len(self.deadlines)) > self._queue_seconds

    def join(self) -> Waiter:
        """Begin to wait at the end of the queue."""
        loop = asyncio.get_running_loop()
        if not self.deadlines:
            self._queue_estimate.begin()
        waiter: Waiter = loop.create_future()
        self.deadlines[waiter] = loop.time() + self._wait_seconds
        if self._expiry is None:
            self._expiry = loop.call_later(self._wait_seconds, self._expire)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Stop waiting."""
        self.deadlines.pop(waiter, None)

    def serve(self, connection: Connection) -> bool:
        """Give the connection to the request that has waited longest; False if none waits."""
        while self.deadlines:
            waiter, _ = self.deadlines.popitem(last=False)
            if not waiter.done():  # a cancelled waiter leaves only in the next turn of the event loop
                self._queue_estimate.served()
                waiter.set_result(connection)
                return True
        return False

    def fail(self, cause: BaseException) -> None:
        """End the wait of all requests with `Unavailable`."""
        while self.deadlines:
            waiter, _ = self.deadlines.popitem(last=False)
            if not waiter.done():
                waiter.set_exception(_unavailable(cause))

    def note_opened(self, *, is_first: bool) -> None:
        """Note that a connection was opened. If no other was open, the pace of the queue is measured again."""
        self._failure = self._away_since = None
        if is_first:
            self._queue_estimate.begin()

    def note_failure(self, error: Exception, *, is_away: bool) -> None:
        """Note that an attempt to connect failed.

        Args:
            is_away: no connection is open, so no request can be served now.
        """
        self._failure = error
        if is_away:
            now = monotonic()
            self._away_since = self._away_since or now
            if now - self._away_since >= self._wait_seconds or not is_transient(error):
                self.fail(error)

    def _expire(self) -> None:
        """Fail the requests whose time is over. All may wait equally long, so the queue's head is due first."""
        loop = asyncio.get_running_loop()
        self._expiry = None
        while self.deadlines:
            waiter, deadline = next(iter(self.deadlines.items()))
            if not waiter.done() and deadline > loop.time():
                self._expiry = loop.call_at(deadline, self._expire)
                return
            del self.deadlines[waiter]
            if not waiter.done():
                cause = self._failure or TimeoutError(f"no connection came free in {self._wait_seconds} s")
                waiter.set_exception(_unavailable(cause))


def _unavailable(cause: BaseException) -> Unavailable:
    error = Unavailable()
    error.__cause__ = cause
    return error

"""The queue in front of the pool: who waits for a connection, first come, first served."""

import asyncio
from collections import OrderedDict

import asyncpg

from groundwork.data.queue_estimate import QueueEstimate
from groundwork.errors import Unavailable

Connection = asyncpg.Connection
Waiter = asyncio.Future[Connection]


class Waiters:
    """Requests that wait `wait_seconds` at most, in the order in which they came."""

    def __init__(self, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self.late: Exception | None = None
        """Why one that has waited in vain gets no connection, where more is known than that none came free."""
        self.deadlines: OrderedDict[Waiter, float] = OrderedDict()
        """Those who wait. Unlike a deque, it forgets one in the middle, who was cancelled, at once."""
        self.queue_estimate = QueueEstimate()
        """How long one more would wait behind those who wait now."""
        self._expiry: asyncio.TimerHandle | None = None

    def measure_anew(self) -> None:
        """The pace until now says nothing about the pace from now on."""
        self.queue_estimate.begin()

    def join(self) -> Waiter:
        """Begin to wait at the end of the queue."""
        loop = asyncio.get_running_loop()
        if not self.deadlines:
            self.queue_estimate.begin()
        waiter: Waiter = loop.create_future()
        self.deadlines[waiter] = loop.time() + self._wait_seconds
        if self._expiry is None:
            self._expiry = loop.call_later(self._wait_seconds, self._expire)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Whoever has joined waits no longer."""
        self.deadlines.pop(waiter, None)

    def serve(self, connection: Connection) -> bool:
        """Give the connection to whoever has waited longest; False if nobody waits."""
        while self.deadlines:
            waiter, _ = self.deadlines.popitem(last=False)
            if not waiter.done():  # one that was cancelled leaves in the next turn of the loop
                self.queue_estimate.served()
                waiter.set_result(connection)
                return True
        return False

    def fail(self, cause: BaseException) -> None:
        """Let none of those who wait now wait any longer."""
        while self.deadlines:
            waiter, _ = self.deadlines.popitem(last=False)
            if not waiter.done():
                waiter.set_exception(_unavailable(cause))

    def _expire(self) -> None:
        """Fail those who waited too long. All wait equally long, so only the head of the queue can be due."""
        loop = asyncio.get_running_loop()
        self._expiry = None
        while self.deadlines:
            waiter, deadline = next(iter(self.deadlines.items()))
            if not waiter.done() and deadline > loop.time():
                self._expiry = loop.call_at(deadline, self._expire)
                return
            del self.deadlines[waiter]
            if not waiter.done():
                late = self.late or TimeoutError(f"no connection came free in {self._wait_seconds} s")
                waiter.set_exception(_unavailable(late))


def _unavailable(cause: BaseException) -> Unavailable:
    error = Unavailable()
    error.__cause__ = cause
    return error

"""A discrete-event simulation of queues: a clock, and stations that serve jobs in the order of their arrival.

Simulated time does not depend on the machine, so the same seed gives the same figures everywhere.
"""

import heapq
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count

Then = Callable[[], None]


class Clock:
    """The simulated time in seconds, and the events to come."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Then]] = []
        self._order = count()  # events that are due at the same moment happen in the order in which they were added

    def after(self, seconds: float, then: Then) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._order), then))

    def run_while(self, wanted: Callable[[], bool]) -> None:
        while self._due and wanted():
            self.now, _, then = heapq.heappop(self._due)
            then()


class Slots:
    """A fixed number of slots, such as a pool of connections. Who finds none free waits in line."""

    def __init__(self, clock: Clock, size: float) -> None:
        self._clock = clock
        self._free = size
        self._waiting: deque[Then] = deque()
        self._held = 0
        self._since = 0.0
        self._held_seconds = 0.0

    def acquire(self, then: Then) -> None:
        if self._free:
            self._free -= 1
            self._count(1)
            then()
        else:
            self._waiting.append(then)

    def release(self) -> None:
        if self._waiting:
            self._waiting.popleft()()
        else:
            self._free += 1
            self._count(-1)

    def mean_held(self) -> float:
        """How many slots were held on average, since the beginning."""
        self._count(0)
        return self._held_seconds / self._clock.now

    def _count(self, change: int) -> None:
        self._held_seconds += self._held * (self._clock.now - self._since)
        self._since = self._clock.now
        self._held += change


class Station(Slots):
    """A fixed number of servers, each of which does one job at a time.

    Args:
        on: slots that a server also needs in order to work, such as the machine's cores. Others may be using them.
    """

    def __init__(self, clock: Clock, servers: float, on: "Station | None" = None) -> None:
        super().__init__(clock, servers)
        self._on = on

    def serve(self, seconds: float, then: Then) -> None:
        """Add a job. It takes `seconds` from the moment when a server begins it."""
        self.acquire(partial(self._work, seconds, partial(self._end, then)))

    def _work(self, seconds: float, then: Then) -> None:
        if self._on:
            self._on.serve(seconds, then)
        else:
            self._clock.after(seconds, then)

    def _end(self, then: Then) -> None:
        self.release()
        then()

"""What the service counts, in memory that all workers of a container share: any of them can tell the sums.

Before the fork an anonymous mapping is made with a slot for each worker. A worker writes into its own slot only, so
nothing is locked and to count costs a fraction of a microsecond; whoever takes the place of a worker that ended takes
its slot too, and counts on. prometheus-client's own way over several processes, a file for each, costs several times
that, and the files of workers that ended stay.

A slot is an array of numbers: those without labels at fixed places, then those with labels, each under its name, in the
order in which they first happened.
"""

import logging
import mmap
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

logger = logging.getLogger(__name__)

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
CHECKOUT_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
STATEMENT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 5, 10)
"""The upper bounds of the histograms' buckets."""


def _histogram(bounds: tuple[float, ...]) -> int:
    """How many numbers it takes: the sum, a count for each bucket, and that of what is above all bounds."""
    return 1 + len(bounds) + 1


# The places of what has no labels. Gauges come first.
WORKERS, IN_FLIGHT, POOL_IN_USE, POOL_IDLE, POOL_OPENING, POOL_SIZE, POOL_WAITING = range(7)
_GAUGES = 7
STARTS, SHED, LOG_LINES_LOST = range(_GAUGES, _GAUGES + 3)
CHECKOUT = LOG_LINES_LOST + 1
STATEMENT = CHECKOUT + _histogram(CHECKOUT_SECONDS)
# Of how many with labels follow.
_SERIES = STATEMENT + _histogram(STATEMENT_SECONDS)

# Far more than routes, methods and statuses, which are bounded, can make. Memory that is not used is not taken.
_SERIES_LIMIT = 4096
_NUMBER_BYTES = 8
_NAME_BYTES = 512
_ROUTE_BYTES = 448
_NAME_NUMBERS = _NAME_BYTES // _NUMBER_BYTES
_SERIES_NUMBERS = _NAME_NUMBERS + _histogram(REQUEST_SECONDS)
# One more, for what is beyond the limit: nobody reads it.
_SLOT_NUMBERS = _SERIES + 1 + (_SERIES_LIMIT + 1) * _SERIES_NUMBERS

Labels = tuple[str, ...]
REQUEST, DATABASE_ERROR = "request", "database error"
"""The first label says what is counted."""

# Whatever else stands before a path is one method here: each client could else make series without end.
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
OTHER = "_OTHER"

TIMED_OUT, LOST = "timeout", "connection"
"""What a database error is counted under when it has no SQLSTATE class: no answer in time, or no connection."""


class Totals(NamedTuple):
    """The sums over all workers."""

    fixed: list[float]
    """By the places above."""
    labelled: dict[Labels, list[float]]
    restarts: int


class Counts:
    """The numbers of this process, and the memory that holds everybody's.

    `values[PLACE] += 1` counts. Until `share` and `take` are called, a process counts for itself.
    """

    values: "memoryview[float]"
    """This process's slot."""

    def __init__(self) -> None:
        self._workers = 0  # that the service begins with
        self._share(slots=1)

    def share(self, *, workers: int) -> None:
        """Make the memory for so many workers, once, before the first is forked.

        At a reload the new workers begin before the old have ended, and there may be more of them.
        """
        if not self._workers:
            self._workers = workers
            # One more for this process, which serves nobody but writes to the log.
            self._share(slots=4 * workers + 1)

    def _share(self, *, slots: int) -> None:
        memory = memoryview(mmap.mmap(-1, slots * _SLOT_NUMBERS * _NUMBER_BYTES))
        size = _SLOT_NUMBERS * _NUMBER_BYTES
        self._slots = [memory[slot * size : (slot + 1) * size].cast("d") for slot in range(slots)]
        self._free = list(reversed(range(slots - 1)))
        self._use(slots - 1)

    def reserve(self) -> int:
        """A slot for the next worker: that of the one that ended last, if one did."""
        return self._free.pop() if self._free else len(self._slots) - 1

    def release(self, slot: int) -> None:
        """The slot's worker has ended, however it did: what it was doing, nobody does any more."""
        self._reset_gauges(slot)
        self._free.append(slot)

    def take(self, slot: int) -> None:
        """Be the worker of this slot."""
        self._use(slot)
        self._reset_gauges(slot)
        self.values[WORKERS] = 1
        self.values[STARTS] += 1

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """An answered request. A status of 0 is none: the connection was cut."""
        place = self._requests.get((method, route, status))
        if place is None:
            known = method in METHODS
            place = self._place((REQUEST, method if known else OTHER, _fitting(route), str(status)))
            if known:
                self._requests[method, route, status] = place
        values = self.values
        values[place] += seconds
        values[place + 1 + bisect_left(REQUEST_SECONDS, seconds)] += 1

    def database_error(self, class_: str) -> None:
        """A statement, or an attempt to connect, that failed."""
        self.values[self._place((DATABASE_ERROR, class_))] += 1

    def observe(self, place: int, bounds: tuple[float, ...], seconds: float) -> None:
        """Put a duration into the histogram at a place."""
        values = self.values
        values[place] += seconds
        values[place + 1 + bisect_left(bounds, seconds)] += 1

    def totals(self) -> Totals:
        """What all workers have counted; a number may be one request newer than another."""
        fixed = [sum(numbers) for numbers in zip(*(slot[:_SERIES].tolist() for slot in self._slots), strict=True)]
        labelled: dict[Labels, list[float]] = {}
        for slot in self._slots:
            for labels, place in _series(slot):
                numbers = slot[place : place + _histogram(REQUEST_SECONDS)].tolist()
                before = labelled.get(labels, [0] * len(numbers))
                labelled[labels] = [sum(both) for both in zip(before, numbers, strict=True)]
        return Totals(fixed, labelled, max(0, int(fixed[STARTS]) - self._workers))

    def _use(self, slot: int) -> None:
        self.values = self._slots[slot]
        self._places: dict[Labels, int] = dict(_series(self.values))
        self._requests: dict[tuple[str, str, int], int] = {}

    def _reset_gauges(self, slot: int) -> None:
        for place in range(_GAUGES):
            self._slots[slot][place] = 0

    def _place(self, labels: Labels) -> int:
        place = self._places.get(labels)
        if place is None:
            place = self._places[labels] = self._add(labels)
        return place

    def _add(self, labels: Labels) -> int:
        number = int(self.values[_SERIES])
        start = _SERIES + 1 + number * _SERIES_NUMBERS
        if number == _SERIES_LIMIT:
            logger.error("more series than %d: some are not counted", number, extra={"labels": labels})
            return start + _NAME_NUMBERS
        name = "\0".join(labels).encode()
        place = start * _NUMBER_BYTES
        self.values.cast("B")[place : place + len(name)] = name
        # Last: until then nobody reads it.
        self.values[_SERIES] = number + 1
        return start + _NAME_NUMBERS


def _fitting(route: str) -> str:
    return route.encode()[:_ROUTE_BYTES].decode(errors="ignore")


def _series(slot: "memoryview[float]") -> Iterator[tuple[Labels, int]]:
    """The labels of what a slot holds, and the places of its numbers."""
    for number in range(int(slot[_SERIES])):
        start = _SERIES + 1 + number * _SERIES_NUMBERS
        name = slot[start : start + _NAME_NUMBERS].tobytes().rstrip(b"\0")
        yield tuple(name.decode(errors="replace").split("\0")), start + _NAME_NUMBERS


counts = Counts()
"""Those of this process, which is a worker or has none."""

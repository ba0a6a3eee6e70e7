"""The service's counts, in memory that all workers of a container share. Any worker can report the totals.

An anonymous mapping with a slot for each worker is made before the fork. A worker writes to its own slot only, so
counting needs no lock and takes a fraction of a microsecond. When a worker has ended, its successor takes its slot and
continues its counts. prometheus-client's multiprocess mode writes a file for each process instead: that costs several
times as much, and the files of workers that ended stay.

A slot is an array of numbers. Those without labels have fixed places. The series with labels follow, each after its
name, in the order in which they first occurred.
"""

import logging
import mmap
from bisect import bisect_left
from collections.abc import Iterator
from operator import add
from threading import Lock
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
CHECKOUT_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
STATEMENT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 5, 10)
LOOP_LAG_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 5)
"""The upper bounds of the histograms' buckets."""


def _histogram(bounds: tuple[float, ...]) -> int:
    """How many numbers a histogram takes: the sum, a count for each bucket, and a count above all bounds."""
    return 1 + len(bounds) + 1


# The places of the numbers without labels. Gauges come first.
WORKERS, IN_FLIGHT, POOL_IN_USE, POOL_IDLE, POOL_OPENING, POOL_SIZE, POOL_WAITING = range(7)
RESIDENT_BYTES, KEYS_TIME = 7, 8
_GAUGES = 9
STARTS, SHED, LOG_LINES_LOST, CPU_SECONDS = range(_GAUGES, _GAUGES + 4)
CHECKOUT = CPU_SECONDS + 1
LOOP_LAG = CHECKOUT + _histogram(CHECKOUT_SECONDS)
# The place of the number of series with labels. The series follow it.
_SERIES = LOOP_LAG + _histogram(LOOP_LAG_SECONDS)

CUSTOM_SERIES_LIMIT = 2048
"""How many series a team's own metrics may have together."""
# Routes, methods and statuses make far fewer than 4096 series. Pages of the mapping that nobody writes take no memory.
_SERIES_LIMIT = 4096 + CUSTOM_SERIES_LIMIT
BUCKET_LIMIT = 20
"""How many bounds a histogram may have."""
SERIES_COUNTS = 1 + BUCKET_LIMIT + 1
"""How many numbers a series has: a histogram's, or a counter at the first place."""
_NUMBER_BYTES = 8
_NAME_BYTES = 512
_ROUTE_BYTES = 448
_NAME_NUMBERS = _NAME_BYTES // _NUMBER_BYTES
_SERIES_NUMBERS = _NAME_NUMBERS + SERIES_COUNTS
# The last series is never read. Counts beyond the limit are written there.
_SLOT_NUMBERS = _SERIES + 1 + (_SERIES_LIMIT + 1) * _SERIES_NUMBERS

Labels = tuple[str, ...]
REQUEST, STATEMENT, DATABASE_ERROR, CUSTOM = "request", "statement", "database error", "custom"
"""The first label of a series says what is counted. The last label is never empty."""

# All other methods are counted as `OTHER`. Otherwise a client could create any number of series.
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
OTHER = "_OTHER"

SERVER_ERROR = 500
"""The lowest status that says that the server failed (RFC 9110, section 15.6)."""

TIMED_OUT, LOST = "timeout", "connection"
"""The classes of database errors without an SQLSTATE: no answer in time, and no connection."""


class Totals(NamedTuple):
    """The sums over all workers."""

    fixed: list[float]
    """Indexed by the places above."""
    labelled: dict[Labels, list[float]]
    restarts: int


class Counts:
    """This process's slot, and the memory with the slots of all workers.

    `values[PLACE] += 1` counts. Until `share` and `take` are called, the slot is private to the process.
    """

    values: "memoryview[float]"
    """This process's slot."""

    known_places: dict[Any, int]
    """The places in this slot that were looked up before: of a request by its method, route and status, of a statement
    by its name, of a custom metric by its key and label values. To make a series' labels would take longer."""

    def __init__(self) -> None:
        self._workers = 0  # how many gunicorn starts first; later ones are restarts
        self._adding = Lock()
        self._share(slots=1)

    def share(self, *, workers: int) -> None:
        """Make the shared memory for this number of workers. Call it before the first fork; later calls do nothing.

        At a reload the new workers start before the old ones have ended, and there may be more of them than before.
        """
        if not self._workers:
            self._workers = workers
            # One more for the parent process, which serves no requests but writes to the log.
            self._share(slots=4 * workers + 1)

    def _share(self, *, slots: int) -> None:
        memory = memoryview(mmap.mmap(-1, slots * _SLOT_NUMBERS * _NUMBER_BYTES))
        size = _SLOT_NUMBERS * _NUMBER_BYTES
        self._slots = [memory[slot * size : (slot + 1) * size].cast("d") for slot in range(slots)]
        self._free = list(reversed(range(slots - 1)))
        self._use(slots - 1)

    def reserve(self) -> int:
        """A slot for the next worker: the one that became free last."""
        return self._free.pop() if self._free else len(self._slots) - 1

    def release(self, slot: int) -> None:
        """Zero the dead worker's gauges and free its slot. Its counts stay."""
        self._reset_gauges(slot)
        self._free.append(slot)

    def take(self, slot: int) -> None:
        """Count in this slot from now on. Called in the worker that the slot was reserved for."""
        self._use(slot)
        self._reset_gauges(slot)
        self.values[WORKERS] = 1
        self.values[STARTS] += 1

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request. Status 0 means that the connection was cut before an answer."""
        place = self.known_places.get((method, route, status))
        if place is None:
            known = method in METHODS
            place = self.place((REQUEST, method if known else OTHER, cut(route, _ROUTE_BYTES), str(status)))
            if known:
                self.known_places[method, route, status] = place
        values = self.values
        values[place] += seconds
        values[place + 1 + bisect_left(REQUEST_SECONDS, seconds)] += 1

    def statement(self, name: str, seconds: float) -> None:
        """Count a statement."""
        place = self.known_places.get(name)
        if place is None:
            place = self.known_places[name] = self.place((STATEMENT, name))
        values = self.values
        values[place] += seconds
        values[place + 1 + bisect_left(STATEMENT_SECONDS, seconds)] += 1

    def database_error(self, class_: str) -> None:
        """Count a failed statement or a failed attempt to connect."""
        self.values[self.place((DATABASE_ERROR, class_))] += 1

    def observe(self, place: int, bounds: tuple[float, ...], value: float) -> None:
        """Add a value to the histogram at a place."""
        values = self.values
        values[place] += value
        values[place + 1 + bisect_left(bounds, value)] += 1

    def place(self, labels: Labels) -> int:
        """The place of the series with these labels in this slot. A new series is added."""
        place = self._places.get(labels)
        if place is None:
            # Routes that FastAPI runs in threads may count at the same time.
            with self._adding:
                place = self._places.get(labels)
                if place is None:
                    place = self._places[labels] = self._add(labels)
        return place

    def labels(self, key: str) -> set[Labels]:
        """The labels of all workers' series whose last label is this key."""
        return {labels for slot in self._slots for labels, _ in _series(slot) if labels[-1] == key}

    def totals(self) -> Totals:
        """The sums over all workers. A request that ends meanwhile may be missing in some of the numbers."""
        fixed: list[float] = [*map(sum, zip(*(slot[:_SERIES] for slot in self._slots), strict=True))]
        labelled: dict[Labels, list[float]] = {}
        for slot in self._slots:
            for labels, place in _series(slot):
                before = labelled.get(labels, [0.0] * SERIES_COUNTS)
                labelled[labels] = [*map(add, before, slot[place : place + SERIES_COUNTS])]
        return Totals(fixed, labelled, max(0, int(fixed[STARTS]) - self._workers))

    def oldest(self, place: int) -> float | None:
        """The lowest number at this place among the workers that have written one."""
        return min((slot[place] for slot in self._slots if slot[place]), default=None)

    def _use(self, slot: int) -> None:
        self.values = self._slots[slot]
        self._places: dict[Labels, int] = dict(_series(self.values))
        self.known_places = {}

    def _reset_gauges(self, slot: int) -> None:
        for place in range(_GAUGES):
            self._slots[slot][place] = 0

    def _add(self, labels: Labels) -> int:
        number = int(self.values[_SERIES])
        start = _SERIES + 1 + number * _SERIES_NUMBERS
        if number == _SERIES_LIMIT:
            logger.error("more series than %d: this new one is not counted", number, extra={"labels": labels})
            return start + _NAME_NUMBERS
        # Padded, because a worker that was killed between the two writes may have left a longer name there.
        name = "\0".join(labels).encode().ljust(_NAME_BYTES, b"\0")
        place = start * _NUMBER_BYTES
        self.values.cast("B")[place : place + _NAME_BYTES] = name
        # Written last, because the series is read from then on.
        self.values[_SERIES] = number + 1
        return start + _NAME_NUMBERS


def cut(text: str, limit_bytes: int) -> str:
    """The longest beginning of the text that fits into `limit_bytes` of UTF-8."""
    return text.encode(errors="replace")[:limit_bytes].decode(errors="ignore")


def _series(slot: "memoryview[float]") -> Iterator[tuple[Labels, int]]:
    """The labels of a slot's series, and the places of their numbers."""
    for number in range(int(slot[_SERIES])):
        start = _SERIES + 1 + number * _SERIES_NUMBERS
        name = slot[start : start + _NAME_NUMBERS].tobytes().rstrip(b"\0")
        yield tuple(name.decode(errors="replace").split("\0")), start + _NAME_NUMBERS


counts = Counts()
"""This process's slot; private outside gunicorn."""

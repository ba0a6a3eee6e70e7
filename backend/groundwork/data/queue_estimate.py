"""How long a request that begins to wait now will wait.

Requests are served in the order in which they came, so the wait is how many are before it, times the pace at which
they are served. Where it would be too long, an answer at once is better than one that nobody waits for any more: the
queue stays short, and those in it are served in time, however many come.
"""

from collections import deque
from time import monotonic

# Until a queue's own pace is known: that of a quick database.
_QUICK_SECONDS = 0.00025
# The slowest pace that a new queue begins with. Clients who obey Retry-After come back all at once: by a pace that is
# too quick, more of them would be accepted than can be served in time. A pace that is slower still was a stall.
_REMEMBERED_SECONDS = 0.001
# The pace is the median of so many measurements, each of so many who were served: a hiccup, which a mean would take for
# a pace, has no say in it, and a database that has become slow is known after half of them.
_MEASURED = 64
_MEASUREMENTS = 7


class QueueEstimate:
    """The pace of one queue."""

    def __init__(self) -> None:
        self._seconds_each = _QUICK_SECONDS
        self._measurements: deque[float] = deque(maxlen=_MEASUREMENTS)
        self._since = 0.0
        self._served = 0

    def begin(self) -> None:
        """Measure anew: nobody waited before, or there are more to serve now. What was slow need not be slow again."""
        self._seconds_each = min(self._seconds_each, _REMEMBERED_SECONDS)
        self._measurements.extend([self._seconds_each] * _MEASUREMENTS)
        self._since = monotonic()
        self._served = 0

    def served(self) -> None:
        """One of those who wait has been served."""
        self._served += 1
        if self._served == _MEASURED:
            now = monotonic()
            self._measurements.append((now - self._since) / _MEASURED)
            self._seconds_each = sorted(self._measurements)[_MEASUREMENTS // 2]
            self._since = now
            self._served = 0

    def seconds(self, waiting: int) -> float:
        """How long one more would wait behind so many."""
        return waiting * self._seconds_each

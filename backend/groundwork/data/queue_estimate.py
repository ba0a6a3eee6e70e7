"""Estimates how long a request will wait that joins the queue now.

Requests are served in the order in which they came. So the wait is the number of requests in front, times the seconds
per request. If the wait would be too long, the request is refused at once. So the queue stays short, and the requests
in it are served before their clients give up.
"""

from collections import deque
from time import monotonic

# Seconds per request of a quick database. Used until the queue's own pace is known.
_QUICK_SECONDS = 0.00025
# A new queue starts with the pace of the last one, because clients that obey Retry-After come back together. Too quick
# an estimate would then accept too many of them. A pace slower than this one was a stall, and is not remembered.
_REMEMBERED_SECONDS = 0.001
# Each measurement is the mean over this many requests.
_MEASURED = 64
# The pace is the median of this many measurements, so that a single hiccup does not change it.
_MEASUREMENTS = 7


class QueueEstimate:
    """Measures the pace of one queue."""

    def __init__(self) -> None:
        self._seconds_each = _QUICK_SECONDS
        self._measurements: deque[float] = deque(maxlen=_MEASUREMENTS)
        self._since = 0.0
        self._served = 0

    def begin(self) -> None:
        """Begin to measure again: the queue was empty or the database away, so the pace may have changed."""
        self._seconds_each = min(self._seconds_each, _REMEMBERED_SECONDS)
        self._measurements.extend([self._seconds_each] * _MEASUREMENTS)
        self._since = monotonic()
        self._served = 0

    def served(self) -> None:
        """Note that one of the waiting requests was served."""
        self._served += 1
        if self._served == _MEASURED:
            now = monotonic()
            self._measurements.append((now - self._since) / _MEASURED)
            self._seconds_each = sorted(self._measurements)[_MEASUREMENTS // 2]
            self._since = now
            self._served = 0

    def seconds(self, waiting: int) -> float:
        """How long one more request would wait behind this many, in seconds."""
        return waiting * self._seconds_each

"""Times as they stand in the log."""

import time
from datetime import UTC, datetime
from functools import lru_cache


def iso_time(seconds: float) -> str:
    """Unix time as ISO 8601, in UTC, with milliseconds."""
    second = int(seconds)
    return _iso_second(second) + _MILLISECONDS[int((seconds - second) * 1000)]


def clock_time(seconds: float) -> str:
    """Unix time as hours, minutes and seconds of the local time zone."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))


# Formatting the milliseconds would take half the time of `iso_time`.
_MILLISECONDS = [f".{milliseconds:03d}+00:00" for milliseconds in range(1000)]


# There can be thousands of lines in a second. Only the first one formats the time.
@lru_cache(maxsize=1)
def _iso_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")

"""Times at which a job is due again and again, in a line: `every day at 03:00 UTC`."""

import re
from datetime import datetime, timedelta
from typing import NamedTuple

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAILY = re.compile(rf"every (day|{'|'.join(_DAYS)}) at ([01]\d|2[0-3]):([0-5]\d) UTC").fullmatch
_OFTEN = re.compile(r"every ([1-9]\d{0,3}) minutes").fullmatch


class Schedule(NamedTuple):
    """The moments that are a multiple of `every` after `first`."""

    first: timedelta
    """After midnight UTC of a Monday."""
    every: timedelta

    def after(self, moment: datetime) -> datetime:
        """The first of the moments that is later than this one."""
        monday = datetime(2024, 1, 1, tzinfo=moment.tzinfo)
        passed = (moment - monday - self.first) // self.every
        return monday + self.first + (passed + 1) * self.every


def parse_schedule(line: str) -> Schedule:
    """Read `every day at 03:00 UTC`, `every monday at 03:00 UTC` or `every 15 minutes`.

    Raises:
        ValueError: the line is none of these.
    """
    if found := _DAILY(line):
        day, hour, minute = found.groups()
        weekly = day in _DAYS
        first = timedelta(days=_DAYS.index(day) if weekly else 0, hours=int(hour), minutes=int(minute))
        return Schedule(first, timedelta(days=7 if weekly else 1))
    if found := _OFTEN(line):
        return Schedule(timedelta(), timedelta(minutes=int(found[1])))
    raise ValueError(f"{line!r}: write `every day at 03:00 UTC`, `every monday at 03:00 UTC` or `every 15 minutes`")

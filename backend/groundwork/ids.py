"""UUIDv7 with a timestamp that is exact to the microsecond, so that a row's `created_at` can be read from its id.

The id and `created_at` come from one reading of the clock. So the order by id is the order by creation time.
"""

import os
import time
from datetime import UTC, datetime
from struct import Struct
from typing import Annotated, Any
from uuid import UUID

from asyncpg.pgproto import pgproto
from pydantic import PlainSerializer, Strict, WithJsonSchema

# RFC 9562 section 5.7: 48 bits of milliseconds, version, 12 bits, variant, 62 bits. The 12 bits hold the fraction of
# the millisecond (section 6.2, method 3), which makes the clock tick every 1/4096 ms, about 0.24 µs.
_FRACTION_BITS = 12
_FRACTION_MASK = (1 << _FRACTION_BITS) - 1
_NS_PER_MS = 1_000_000
_US_PER_S = 1_000_000
_VERSION = 0x7 << 12
_VARIANT = 0b10 << 62
_RANDOM_MASK = (1 << 62) - 1
_halves = Struct(">QQ").pack

LARGEST = UUID(int=2**128 - 1)
"""Greater than every UUIDv7. A newest-first list starts before it."""

Id = Annotated[
    UUID,
    # asyncpg has its own UUID class. pydantic writes it at a third of the speed of str().
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "uuid"}),
]
"""The type of an id in a response."""

IdIn = Annotated[UUID, Strict(False), WithJsonSchema({"type": "string", "format": "uuid"})]  # noqa: FBT003
"""The type of an id in a request's body. Other fields there are strict, but JSON has UUIDs only as text."""

_last_tick = 0


def uuid7() -> UUID:
    """A new id. It is greater than every id that this process made before, even when the clock is set back."""
    return _id(_next_tick())


def new_row() -> dict[str, Any]:
    """The `id` and the `created_at` of a new row, for the parameters of its insert."""
    tick = _next_tick()
    return {"id": _id(tick), "created_at": _moment(tick)}


def created_at(id: UUID) -> datetime:
    """When `uuid7` made this id, in UTC and whole microseconds."""
    return _moment(id.int >> 80 << _FRACTION_BITS | id.int >> 64 & _FRACTION_MASK)


def _next_tick() -> int:
    global _last_tick  # noqa: PLW0603 - one clock for the process
    _last_tick = max((time.time_ns() << _FRACTION_BITS) // _NS_PER_MS, _last_tick + 1)
    return _last_tick


def _id(tick: int) -> UUID:
    time_and_version = tick >> _FRACTION_BITS << 16 | _VERSION | tick & _FRACTION_MASK
    random = int.from_bytes(os.urandom(8), "big") & _RANDOM_MASK
    # The driver's own class is made and sent in a fraction of the time that Python's UUID takes.
    return pgproto.UUID(_halves(time_and_version, _VARIANT | random))


def _moment(tick: int) -> datetime:
    # Exact to the microsecond until the year 2242, as the tests show. Adding a timedelta takes longer.
    return datetime.fromtimestamp((tick * 1000 >> _FRACTION_BITS) / _US_PER_S, UTC)

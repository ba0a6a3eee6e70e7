"""One memory limit for the requests and responses of all connections of a worker.

Each connection has limits of its own, but a thousand connections at their limits need more memory than a container has.
A request counts from its first byte until its answer. A response counts from when it is made until the kernel has taken
it. When the limit is reached, large requests and responses are refused with 503. Small ones are always served, so an
attack with large ones stops neither ordinary requests nor health probes.
"""

from collections.abc import Iterable
from typing import Self

from starlette.types import Scope

DEFAULT_BYTES = 16 * 1024 * 1024
SMALL_BYTES = 16 * 1024
"""A connection is neither counted nor refused while it holds at most this much in each direction."""
# A response whose Content-Length has fewer digits than this is small. It is always sent.
_LARGE_DIGITS = 5


class ByteBudget:
    """A limit in bytes, and how much of it is in use."""

    __slots__ = ("held_bytes", "limit_bytes")

    def __init__(self, limit_bytes: int = DEFAULT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0

    @property
    def is_exceeded(self) -> bool:
        return self.held_bytes > self.limit_bytes

    def has_room(self, size: int) -> bool:
        return self.held_bytes + size <= self.limit_bytes


class NoRoom(Exception):
    """The budget has no room for a response."""


def require_room(scope: Scope, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Check that the budget has room for a response, before it is sent.

    The response to a write is sent whatever its size, because a 503 would say that nothing was written.

    Args:
        scope: the request's scope.
        headers: the response's headers. Content-Length tells its size.

    Returns:
        Whether the response has a length.

    Raises:
        NoRoom: the request is a GET or HEAD, and its response does not fit.
    """
    for name, value in headers:
        if name == b"content-length":  # usually the first
            if len(value) >= _LARGE_DIGITS and scope["method"] in ("GET", "HEAD") and not budget.has_room(int(value)):
                raise NoRoom
            return True
    return False


class Charge:
    """The bytes of the budget that one owner uses.

    They return to the budget when this object is freed, however the connection ends. So the owner must not be part of a
    reference cycle.
    """

    __slots__ = ("size",)

    def __init__(self, size: int = 0) -> None:
        self.size = 0
        self.set(size)

    def set(self, size: int) -> None:
        budget.held_bytes += size - self.size
        self.size = size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.set(0)

    def __del__(self) -> None:
        self.set(0)


budget = ByteBudget()
"""The budget of this process. A worker sets its limit from `MEMORY_BUDGET_BYTES` when it starts."""

"""One limit for the bytes that all clients of a worker together make it hold.

Every connection has bounds of its own, but a thousand connections at their bounds are more than a container's memory.
Counted here are requests from when they are read until they are answered, and answers from when they are made until the
kernel has taken them. Beyond the limit, whoever would add much gets 503; what is small is always served, so that an
attack with large requests or answers does not stop ordinary ones or the health probes.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from starlette.types import Scope

DEFAULT_BYTES = 16 * 1024 * 1024
SMALL_BYTES = 16 * 1024
"""What one connection may hold in each direction without being counted or refused."""
# A Content-Length of fewer digits is that of a small answer, for which there is always room.
_LARGE_DIGITS = 5


class ByteBudget:
    """The limit of this process, and how much of it is in use."""

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
    """Raised in place of an answer that the budget has no room for."""


def require_room(scope: Scope, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Called before an answer is sent, with its headers.

    The answer to a write is sent whatever its size: a 503 would say that nothing was written.

    Raises:
        NoRoom: the request can be sent again, and the answer is more than all may hold.
    """
    for name, value in headers:
        if name == b"content-length":  # most often the first
            if len(value) >= _LARGE_DIGITS and scope["method"] in ("GET", "HEAD") and not budget.has_room(int(value)):
                raise NoRoom
            return


class Charge:
    """What one holder takes of the budget.

    It gives everything back when it is freed, so no way of ending a connection can forget to: the holder only has to
    be free of reference cycles.
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.set(0)

    def __del__(self) -> None:
        self.set(0)


budget = ByteBudget()
"""That of this process. A worker sets its limit from `MEMORY_BUDGET_BYTES` when it starts."""

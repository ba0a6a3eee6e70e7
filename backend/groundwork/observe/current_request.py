"""What is known of the request that is being served, to whoever works for it."""

from contextvars import ContextVar
from typing import Protocol

SERVER_ERROR = 500
"""The lowest status that says that the server failed (RFC 9110, section 15.6)."""


class Span(Protocol):
    """The span of a request that is traced."""

    trace_id: str

    def statement(self, sql: str, seconds: float, error: BaseException | None) -> None:
        """Record a statement that has just ended."""

    def end(self, route: str, status: int) -> None:
        """Record the request's end."""


class CurrentRequest:
    """Its id, and where its time went."""

    __slots__ = ("database_seconds", "id", "pool_seconds", "span", "status")

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.database_seconds = 0.0
        """Of all its statements."""
        self.pool_seconds = 0.0
        """That it waited for connections to the database."""
        self.status = 0
        """The response's status; 0 until the response begins."""
        self.span: Span | None = None
        """Of its trace, where it has one."""


current_request: ContextVar[CurrentRequest | None] = ContextVar("current_request", default=None)
"""Every line that is logged meanwhile carries its id."""

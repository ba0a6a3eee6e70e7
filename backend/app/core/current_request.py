"""What is known of the request that is being served, to whoever works for it."""

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.core.tracing import RequestSpan


class CurrentRequest:
    """Its id, and where its time went."""

    __slots__ = ("database_seconds", "id", "pool_seconds", "span")

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.database_seconds = 0.0
        """Of all its statements."""
        self.pool_seconds = 0.0
        """That it waited for connections to the database."""
        self.span: RequestSpan | None = None
        """Of its trace, where it has one."""


current_request: ContextVar[CurrentRequest | None] = ContextVar("current_request", default=None)
"""Every line that is logged meanwhile carries its id."""

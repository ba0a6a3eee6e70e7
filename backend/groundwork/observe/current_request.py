"""The request that is being served: its id, its times and its span, for the log, the pool and the traces."""

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Not imported in a service without traces.
    from groundwork.observe.tracing import RequestSpan


class CurrentRequest:
    """The id of a request, its status, and the time it spent on the database."""

    __slots__ = ("database_seconds", "id", "pool_seconds", "role", "span", "status")

    role: str
    """The role that the route has asked for. It is only set where a route asks for one."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.database_seconds = 0.0
        """The time of all statements."""
        self.pool_seconds = 0.0
        """The time spent waiting for database connections."""
        self.status = 0
        """The response's status; 0 until the response begins."""
        self.span: RequestSpan | None = None
        """None if the request is not traced."""


current_request: ContextVar[CurrentRequest | None] = ContextVar("current_request", default=None)
"""None outside a request. Every line that is logged during a request has its id."""

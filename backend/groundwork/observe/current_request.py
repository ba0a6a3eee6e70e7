"""The request that is being served: its id, its times and its span, for the log, the pool and the traces."""

from asyncio import Task, TimerHandle
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    # Not imported in a service without traces.
    from groundwork.observe.tracing import RequestSpan


class Stream:
    """A response that is sent part by part, without a length."""

    __slots__ = ("end", "head_at", "head_seconds", "task", "timer")

    def __init__(self, task: Any, head_at: float) -> None:
        self.task = task
        """The task that serves the request; None once the request has ended."""
        self.head_at = head_at
        """When the head was sent, by `time.perf_counter`."""
        self.head_seconds = 0.0
        """The time from the request's beginning to the response's head. It is set at the end."""
        self.end = ""
        """Why it has ended; "" while it goes on."""
        self.timer: TimerHandle | None = None
        """Ends the stream when the caller's token expires."""


class CurrentRequest:
    """The id of a request, its status, and the time it spent on the database."""

    __slots__ = (
        "database_seconds",
        "generators",
        "id",
        "path",
        "pool_seconds",
        "received_bytes",
        "role",
        "route",
        "sent_bytes",
        "span",
        "status",
        "stream",
        "task",
    )

    path: bytes
    """The path as it was sent. It is only set at the end of a request that matches no route."""

    role: str
    """The role that the route has asked for. It is only set where a route asks for one."""

    task: Task[Any] | None
    """The task that serves the request, which may start others; None once the request has ended."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.database_seconds = 0.0
        """The time of all statements."""
        self.pool_seconds = 0.0
        """The time spent waiting for database connections."""
        self.route: Callable[[], str] = str
        """Returns the template of the route; "" while none is found, or if none matches."""
        self.received_bytes = 0
        """The size of a body that came in chunks, as far as it has come."""
        self.sent_bytes = 0
        """The size of the response's body, as far as it was sent."""
        self.status = 0
        """The response's status; 0 until the response begins."""
        self.span: RequestSpan | None = None
        """None if the request is not traced."""
        self.stream: Stream | None = None
        """None if the response has a length, or has not begun."""
        self.generators: WeakKeyDictionary[Any, None] | None = None
        """The asynchronous generators that this request has begun, in their order."""


current_request: ContextVar[CurrentRequest | None] = ContextVar("current_request", default=None)
"""None outside a request. Every line that is logged during a request has its id."""

"""The request that is being served: its id, its times and its span, for the log, the pool and the traces."""

from asyncio import Task, TimerHandle
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    # Not imported in a service without traces.
    from groundwork.observe.tracing import RequestSpan


@dataclass(slots=True, eq=False)
class Stream:
    """A response that is sent part by part, without a length."""

    task: Any
    """The task that serves the request; None once the request has ended."""
    head_at: float
    """When the head was sent, by `time.perf_counter`."""
    head_seconds: float = 0.0
    """The time from the request's beginning to the response's head. It is set at the end."""
    end: str = ""
    """Why it has ended; "" while it goes on."""
    timer: TimerHandle | None = None
    """Ends the stream when the caller's token expires."""


@dataclass(slots=True, eq=False)
class CurrentRequest:
    """The id of a request, its status, and the time it spent on the database."""

    id: str
    task: Task[Any] | None = field(init=False)
    """The task that serves the request, which may start others; None once the request has ended."""
    path: bytes = field(init=False)
    """The path as it was sent. It is only set at the end of a request that matches no route."""
    role: str = field(init=False)
    """The role that the route has asked for. It is only set where a route asks for one."""
    database_seconds: float = 0.0
    """The time of all statements."""
    pool_seconds: float = 0.0
    """The time spent waiting for database connections."""
    route: Callable[[], str] = str
    """Returns the template of the route; "" while none is found, or if none matches."""
    received_bytes: int = 0
    """The size of a body that came in chunks, as far as it has come."""
    sent_bytes: int = 0
    """The size of the response's body, as far as it was sent."""
    status: int = 0
    """The response's status; 0 until the response begins."""
    is_slow: bool = False
    """Whether it took long. It is set at the end."""
    span: "RequestSpan | None" = None
    """None if the request is not traced."""
    stream: Stream | None = None
    """None if the response has a length, or has not begun."""
    generators: WeakKeyDictionary[Any, None] | None = None
    """The asynchronous generators that this request has begun, in their order."""


current_request: ContextVar[CurrentRequest | None] = ContextVar("current_request", default=None)
"""None outside a request. Every line that is logged during a request has its id."""

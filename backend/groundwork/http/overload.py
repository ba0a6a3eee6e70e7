"""Refuses the requests that could not be served in time."""

import asyncio
import logging
from http import HTTPStatus

from starlette.types import Receive, Scope, Send

from groundwork.http.paths import is_health_check
from groundwork.http.problems import RETRY_AFTER_SECONDS, problem
from groundwork.observe.metrics import SHED, counts

logger = logging.getLogger(__name__)

# The shortest time between two refusals. Without this pause, 500 clients that ignore Retry-After and ask again at once
# keep a worker busy with refusals. It then serves only a third of the requests in the same CPU time.
_PAUSE_SECONDS = 1 / 4000
_REPORT_SECONDS = 1.0
REFUSAL = problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The service is overloaded; try again shortly.",
    headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
)


class Refusals:
    """An ASGI application that answers 503, at most 4,000 times a second. Further requests wait for their turn."""

    def __init__(self) -> None:
        self._turn = 0.0  # when the latest refusal leaves, in the event loop's time
        self._count = 0
        self._next_report = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        now = asyncio.get_running_loop().time()
        self._turn = max(now, self._turn + _PAUSE_SECONDS)
        self._report(now)
        counts.values[SHED] += 1
        if self._turn > now:
            await asyncio.sleep(self._turn - now)
        await REFUSAL(scope, receive, send)

    def _report(self, now: float) -> None:
        self._count += 1
        if now >= self._next_report:
            logger.warning("overloaded: requests are refused", extra={"refused": self._count})
            self._count = 0
            self._next_report = now + _REPORT_SECONDS


def is_overloaded(scope: Scope) -> bool:
    """Whether to refuse a request. Health checks are always answered."""
    return scope["app"].database.overloaded and not is_health_check(scope)

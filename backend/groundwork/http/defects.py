"""The response to a request whose handler failed with an unexpected exception."""

import logging
from inspect import iscoroutinefunction
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from groundwork.http.problems import problem_of_defect

logger = logging.getLogger(__name__)


async def defect_response(handler: Any, scope: Scope, error: Exception) -> Response:
    """The response of the application's own handler for `Exception` or 500; without a handler, a problem with 500.

    Args:
        handler: an exception handler, `async` or not, or None. If the handler fails, its error is logged.
    """
    if handler is None:
        return problem_of_defect()
    try:
        is_async = iscoroutinefunction(handler) or iscoroutinefunction(type(handler).__call__)
        answering = handler(Request(scope), error) if is_async else run_in_threadpool(handler, Request(scope), error)
        return cast("Response", await answering)
    except Exception:
        logger.exception("the application's own exception handler failed; the answer is the library's 500")
        return problem_of_defect()

"""Logs why the application has not started, or not stopped well."""

import logging
import sys

from starlette.types import Message, Send

from groundwork.http.protected_routes import UnprotectedRoute

logger = logging.getLogger(__name__)


def report_failed_lifespan(send: Send) -> Send:
    """A `send` for the lifespan that logs its error, and an `UnprotectedRoute` without a traceback.

    The server would log the traceback as a text, which no formatter shortens.
    """

    async def send_report(message: Message) -> None:
        if message["type"].endswith(".failed"):
            error = sys.exc_info()[1]
            logger.error("the lifespan has failed: %s", error, exc_info=not isinstance(error, UnprotectedRoute))
            message = {**message, "message": ""}
        await send(message)

    return send_report

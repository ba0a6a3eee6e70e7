"""What every request passes: its id, the path's decoding, the body limit, security headers, its count and its line."""

import asyncio
import logging
import os
import re
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundwork import errors
from groundwork.http.byte_budget import NoRoom, require_room
from groundwork.http.defects import answer_to_defect
from groundwork.http.overload import Refusals, is_overloaded
from groundwork.http.owned_routes import in_a_sentence
from groundwork.http.paths import decode_path, route_path
from groundwork.http.problems import problem_of
from groundwork.http.request_checks import as_get, require_key_taken, require_no_encoding
from groundwork.http.response_headers import with_headers
from groundwork.http.route_template import TEMPLATE, route_template
from groundwork.observe.access_log import AccessLog
from groundwork.observe.current_request import CurrentRequest, current_request
from groundwork.observe.metrics import IN_FLIGHT, counts

if TYPE_CHECKING:
    from groundwork.observe.tracing import Tracing

logger = logging.getLogger(__name__)

_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch
# Of a length that the parser lets pass: below 2**64.
_LENGTH_DIGITS = 20
_CLIENT_CLOSED_REQUEST = 499
"""Not sent to anyone: what the log says of a client that left before its request was whole (nginx's convention)."""
_STOPPING = "Task cancelled, timeout graceful shutdown exceeded"
"""With this message uvicorn cancels the requests that are still served when its graceful shutdown's time is over."""
_NO_ROOM = "The service has no memory left for large answers at this moment; try again shortly, or ask for less."


class RequestMiddleware:
    """The outermost layer but CORS: every response, that to a defect included, leaves through it.

    A pure ASGI class: `@app.middleware("http")` costs about a hundred times as much.
    """

    def __init__(
        self, app: ASGIApp, *, body_limit_bytes: int, log: AccessLog, tracing: "Tracing | None" = None
    ) -> None:
        self._log = log
        self._app = app
        self._body_limit_bytes = body_limit_bytes
        self._tracing = tracing
        self._refusals = Refusals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._pass_on(scope, receive, send)
            return
        started = time.perf_counter()
        app, served = scope["app"], scope
        encoded = b"%" in (scope.get("raw_path") or b"")
        # Where the path is decoded anew, the server's own scope stays as it is, because servers log its path.
        scope = dict(scope) if encoded else scope
        headers = dict(scope["headers"])
        id_ = _request_id(headers)
        request = CurrentRequest(id_)
        if self._tracing:
            request.span = self._tracing.begin(scope, route_path(scope), headers, id_)
        current_request.set(request)
        counts.values[IN_FLIGHT] += 1
        status, method = 0, scope["method"]

        # No coroutine of its own around the server's, twice in each request.
        def send_with_headers(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                given = message.get("headers", ())
                require_room(scope, given)
                status = message["status"]
                # A mounted application may have no headers, or keep those that it sends: they are not changed in place.
                message = {**message, "headers": with_headers(given, id_)}
                if served is not scope:
                    # What was found, for layers further out.
                    served.update({**scope, "path": served["path"], "method": method})
            return send(message)

        try:
            if b"content-length" not in headers:
                receive = _limited(receive, self._body_limit_bytes)
            answerer = self._answerer(scope, headers, encoded=encoded)
            if method == "HEAD":
                scope = as_get(scope)
            await answerer(scope, receive, send_with_headers)
        except NoRoom:
            await problem_of(errors.Unavailable(_NO_ROOM))(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = _CLIENT_CLOSED_REQUEST
        except asyncio.CancelledError as error:
            if error.args != (_STOPPING,):
                # By a timeout further out, which decides what the client is told.
                raise
            # The worker has to stop and waited as long as it may.
            if not status:
                await problem_of(errors.Unavailable("The service is stopping; try again."))(
                    scope, receive, send_with_headers
                )
        except Exception as error:
            logger.exception("unhandled error")
            if status:
                # Half an answer is out: let the server cut the connection, so that the client sees it is not whole.
                raise
            answer = await answer_to_defect(app.defect_handler, scope, error)
            await answer(scope, receive, send_with_headers)
        finally:
            self._note(scope, method, app, request, status, time.perf_counter() - started)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, in_a_sentence(send) if scope["type"] == "lifespan" else send)

    def _note(self, scope: Scope, method: str, app: Any, request: CurrentRequest, status: int, seconds: float) -> None:
        # What is refused before its route is looked for has none, nor a user.
        route = scope[TEMPLATE] if TEMPLATE in scope else route_template(scope, app)
        user_id = scope["path_params"].get("user_id") if "path_params" in scope else None
        counts.values[IN_FLIGHT] -= 1
        counts.request(method, route, status, seconds)
        if request.span:
            request.span.end(route, status)
        self._log(request, method, route, status, seconds, user_id)

    def _answerer(self, scope: Scope, headers: dict[bytes, bytes], *, encoded: bool) -> ASGIApp:
        """Who answers: the application, or what refuses the request before anybody looks at its content."""
        if is_overloaded(scope):
            return self._refusals
        try:
            if b"content-length" in headers and _length(headers[b"content-length"]) > self._body_limit_bytes:
                return problem_of(errors.ContentTooLarge(self._body_limit_bytes))
            if encoded:
                decode_path(scope)
            if b"content-encoding" in headers:
                require_no_encoding(scope, headers)
            if b"idempotency-key" in headers:
                require_key_taken(scope)
        except errors.AppError as error:
            return problem_of(error)
        return self._app


def _length(value: bytes) -> int:
    """The body's length as declared.

    Raises:
        Invalid: it has leading zeros without end, which Python would refuse to read as a number.
    """
    if len(value) > _LENGTH_DIGITS:
        msg = f"A length of more than {_LENGTH_DIGITS} digits"
        raise errors.Invalid.at("header", "Content-Length", msg=msg, type="content_length")
    return int(value)


def _request_id(headers: dict[bytes, bytes]) -> str:
    """The caller's own id where it is harmless to repeat, else a new one."""
    given = headers.get(b"x-request-id", b"")
    return given.decode("ascii") if _SANE_REQUEST_ID(given) else os.urandom(16).hex()


def _limited(receive: Receive, limit_bytes: int) -> Receive:
    """Stop reading a body that turns out too large; its length is not known when it comes in chunks."""
    received = 0

    async def receive_within_limit() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit_bytes:
            raise errors.ContentTooLarge(limit_bytes)
        return message

    return receive_within_limit

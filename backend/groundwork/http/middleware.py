"""The layer around every request: its id, the checks before routing, the headers of every response, metrics and log."""

import asyncio
import logging
import os
import re
import time
from asyncio import current_task
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundwork import errors
from groundwork.http import streams
from groundwork.http.body_limit import BodyLimits
from groundwork.http.byte_budget import NoRoom, require_room
from groundwork.http.defects import defect_response
from groundwork.http.failed_lifespan import report_failed_lifespan
from groundwork.http.overload import Refusals, is_overloaded
from groundwork.http.paths import decode_path, is_health_check
from groundwork.http.problems import problem_of
from groundwork.http.request_checks import KeyCheck, require_no_encoding
from groundwork.http.response_headers import with_headers
from groundwork.http.route_template import TEMPLATE, find_route, route_template
from groundwork.observe.access_log import AccessLog
from groundwork.observe.current_request import CurrentRequest, current_request
from groundwork.observe.metrics import IN_FLIGHT, counts

if TYPE_CHECKING:
    from groundwork.observe.tracing import Tracing

logger = logging.getLogger(__name__)

_is_safe_id = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch
_CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that closed the connection too early. It is logged and counted, and never sent."""
_UVICORN_STOPS = ("Task cancelled, timeout graceful shutdown exceeded",)
"""The arguments with which uvicorn cancels the requests that are still running when its graceful shutdown ends."""
_STOPPING = "The service is stopping; try again."
_Sending = Awaitable[None]
"""Named here, because the annotations of an inner function are evaluated each time that the function is made."""
_NO_ROOM = "The service has no memory left for large answers at this moment; try again shortly, or ask for less."


class RequestMiddleware:
    """The outermost layer, apart from CORS and the root path. Every response passes through it, even after a defect.

    It is a plain ASGI class, because `@app.middleware("http")` costs about a hundred times as much.

    Args:
        app: the next layer.
        body_limit_bytes: the largest request body, unless its route declares another limit.
        log: writes the request's line.
        tracing: makes the request's span; None if traces are off.
        server_timing: whether responses have a `Server-Timing` header.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_limit_bytes: int,
        log: AccessLog,
        tracing: "Tracing | None" = None,
        server_timing: bool = False,
    ) -> None:
        self.app = app
        self._body_limits = BodyLimits(body_limit_bytes)
        self._log = log
        self._tracing = tracing
        self._server_timing = server_timing
        self._refusals = Refusals()
        self._key_check = KeyCheck()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            streams.watch_generators()
            app = _refuse_socket if scope["type"] == "websocket" else self.app
            await app(scope, receive, report_failed_lifespan(send) if scope["type"] == "lifespan" else send)
            return
        started = time.perf_counter()
        app, method, server_scope = scope["app"], scope["method"], scope
        has_escapes = b"%" in (scope.get("raw_path") or b"")
        # Only a copy is changed, because the server uses its own scope to log the path and to leave out a body.
        scope = dict(scope) if has_escapes or method == "HEAD" else scope
        headers = dict(scope["headers"])
        request = self._begin(scope, headers)
        send = _send_with_headers(send, request, scope, server_scope)
        send = _send_with_timing(send, request, started) if self._server_timing else send
        try:
            refusal = self._refusal(scope, server_scope, headers, has_escapes=has_escapes)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
            # A HEAD asks for the headers of a GET (RFC 9110, 9.3.2). So every route that takes GET takes HEAD, and one
            # that takes HEAD itself, as Starlette's do, still gets HEAD.
            if method == "HEAD" and find_route(scope) is None:
                scope["method"] = "GET"
            if b"content-length" not in headers:
                receive = self._body_limits.receive_within(receive, scope, server_scope, request)
            await self.app(scope, receive, send)
        except NoRoom:
            await problem_of(errors.Unavailable(_NO_ROOM))(scope, receive, send)
        except ClientDisconnect:
            request.status = _CLIENT_CLOSED_REQUEST
        except asyncio.CancelledError as error:
            if not await _end_cancelled(error, request, scope, receive, send):
                # A timeout in an outer layer has cancelled the request. That layer decides about the response.
                raise
        except Exception as error:
            logger.exception("unhandled error", extra={"method": method, "route": request.route()})
            if request.status:
                # Part of the response is sent. The server closes the connection, so that the client notices the break.
                raise
            response = await defect_response(app.defect_handler, scope, error)
            await response(scope, receive, send)
        finally:
            if request.stream is not None:
                await streams.close_generators(request)
            self._end(request, scope, headers, method, started)

    def _begin(self, scope: Scope, headers: dict[bytes, bytes]) -> CurrentRequest:
        """Give the request its id, its span and its route, and count it as in flight."""
        given = headers.get(b"x-request-id")
        # The caller's id if it is safe to repeat, else a new one of 32 hexadecimal digits.
        request = CurrentRequest(given.decode("ascii") if given and _is_safe_id(given) else os.urandom(16).hex())
        # Probes come every few seconds. Their spans would hide the spans of users.
        if self._tracing and not is_health_check(scope):
            request.span = self._tracing.begin(scope, headers, request.id)
        request.route = partial(route_template, scope, scope["app"])
        request.task = current_task()
        current_request.set(request)
        counts.values[IN_FLIGHT] += 1
        return request

    def _refusal(
        self, scope: Scope, server_scope: Scope, headers: dict[bytes, bytes], *, has_escapes: bool
    ) -> ASGIApp | None:
        """The response to a request that fails a check; None if the request passes all checks.

        A path with escapes is decoded in `scope`.
        """
        if is_overloaded(scope):
            return self._refusals
        try:
            if has_escapes:
                decode_path(scope)
            if b"content-length" in headers:
                self._body_limits.require_length(headers[b"content-length"], scope, server_scope)
            if b"content-encoding" in headers:
                require_no_encoding(scope, headers)
            if b"idempotency-key" in headers:
                self._key_check.require_key_taken(scope)
        except errors.AppError as error:
            return problem_of(error)
        return None

    def _end(
        self, request: CurrentRequest, scope: Scope, headers: dict[bytes, bytes], method: str, started: float
    ) -> None:
        """Count the request, end its span, and write its log line."""
        route = scope[TEMPLATE] if TEMPLATE in scope else request.route()
        served_seconds = seconds = time.perf_counter() - started
        if request.stream is not None:
            served_seconds = streams.forget(request.stream, started)
        counts.values[IN_FLIGHT] -= 1
        counts.request(method, route, request.status, served_seconds)
        if request.span:
            request.span.end(route, request.status)
        if not route:
            request.path = scope.get("raw_path") or b""
        self._log(request, method, route, seconds, scope, headers)
        request.task = None  # the task's context refers to the request: a cycle, which only the collector would free


async def _refuse_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a WebSocket. Only `SocketMiddleware` serves them; this layer gives them neither an id nor limits."""
    await send({"type": "websocket.close"})


async def _end_cancelled(
    error: asyncio.CancelledError, request: CurrentRequest, scope: Scope, receive: Receive, send: Send
) -> bool:
    """Answer a request that was cancelled because it has to end. Returns False if there is another reason."""
    if request.stream and await streams.finish(request.stream, send):
        return True
    if error.args != _UVICORN_STOPS:
        return False
    if not request.status:
        await problem_of(errors.Unavailable(_STOPPING))(scope, receive, send)
    return True


def _send_with_headers(send: Send, request: CurrentRequest, scope: Scope, server_scope: Scope) -> Send:
    """A `send` that adds the headers of every response and notes its status.

    Raises:
        NoRoom: (when called) the worker has no memory left for a response of this size.
    """

    # Not `async`, because that would cost every request two more coroutines.
    def send_with_headers(message: Message) -> _Sending:
        if message["type"] == "http.response.start":
            headers = message.get("headers", ())
            has_length = require_room(scope, headers)
            request.status = message["status"]
            # A new message, because a mounted application may leave out the headers, or may send the same list again.
            message = {**message, "headers": with_headers(headers, request.id)}
            if server_scope is not scope:
                # Show outer layers which route was found.
                server_scope.update({**scope, "path": server_scope["path"], "method": server_scope["method"]})
            if not has_length:
                return streams.begin(message, send, scope, server_scope, request)
        else:
            request.sent_bytes += len(message.get("body", b""))
            if request.stream is not None and not message.get("more_body"):
                request.stream.end = streams.COMPLETE
        return send(message)

    return send_with_headers


def _send_with_timing(send: Send, request: CurrentRequest, started: float) -> Send:
    """A `send` that says in the response's head where the time until then went (W3C Server Timing)."""

    def send_with_timing(message: Message) -> _Sending:
        if message["type"] == "http.response.start":
            times = (time.perf_counter() - started, request.database_seconds, request.pool_seconds)
            value = b"total;dur=%.2f, db;dur=%.2f, wait;dur=%.2f" % tuple(seconds * 1000 for seconds in times)
            message = {**message, "headers": [*message.get("headers", ()), (b"server-timing", value)]}
        return send(message)

    return send_with_timing

"""WebSockets, with the same checks, id, log line and metrics as requests.

Only a service with `WEBSOCKETS=true` imports this.
"""

import asyncio
import logging
import time
from asyncio import current_task
from collections.abc import Awaitable, Collection
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from groundwork import errors
from groundwork.http import streams
from groundwork.http.defects import defect_response
from groundwork.http.middleware import RequestMiddleware
from groundwork.http.problems import problem_of
from groundwork.http.response_headers import with_headers
from groundwork.observe.current_request import CurrentRequest, Stream
from groundwork.observe.metrics import SERVER_ERROR

logger = logging.getLogger(__name__)

_ACCEPTED, _CLIENT_LEFT = 101, 499
_POLICY, _DEFECT, _RESTART, _UNAUTHORIZED = 1008, 1011, 1012, 3000
"""Codes with which a WebSocket is closed (RFC 6455, 7.4, and IANA's registry)."""
_BEARER = "bearer"
"""The subprotocol after which a browser sends its token. A page cannot set a WebSocket's headers."""
_LAST_SECONDS = 1.0


class SocketMiddleware(RequestMiddleware):
    """`RequestMiddleware` that also serves WebSockets.

    Args:
        origins: the origins whose pages may open a WebSocket, beside the service's own.
    """

    def __init__(self, app: ASGIApp, *, origins: Collection[str], **options: Any) -> None:
        super().__init__(app, **options)
        self._origins = origins

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override]
        return (self._serve if scope["type"] == "websocket" else super().__call__)(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        scope = {**scope, "method": "GET"}
        _take_token(scope)
        headers = dict(scope["headers"])
        request = self._begin(scope, headers)
        socket = _Socket(scope, receive, send, request)
        try:
            refusal = self._refusal(scope, scope, headers, has_escapes=b"%" in scope["raw_path"])
            if refusal is None and not self._is_own_page(headers):
                refusal = problem_of(errors.Forbidden("Pages of this origin may not open a WebSocket here."))
            await (refusal or self.app)(scope, socket.receive, socket.send)
            await socket.finish()
        except (WebSocketDisconnect, ClientDisconnected):
            request.status = request.status or _CLIENT_LEFT
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    while not socket.code:
                        await socket.receive()
        except asyncio.CancelledError as error:
            await socket.end_cancelled(error)
        except Exception as error:
            logger.exception("unhandled error")
            response = await defect_response(None, scope, error)
            with suppress(OSError):
                await response(scope, receive, socket.send)
        finally:
            await streams.close_generators(request)
            if request.stream and not request.stream.end:
                request.stream.end = f"closed {socket.code or 1000}"
            self._end(request, scope, headers, "GET", started)

    def _is_own_page(self, headers: dict[bytes, bytes]) -> bool:
        """Whether the page may connect. Browsers always send the page's origin, and apply no CORS to WebSockets."""
        origin = headers.get(b"origin")
        if origin is None or "*" in self._origins or origin.decode("latin-1") in self._origins:
            return True
        return origin.partition(b"://")[2].lower() == headers.get(b"host", b"").lower()


class _Socket:
    """One WebSocket: `receive` and `send` for the application.

    Until it is accepted, a refusal is an ordinary HTTP response. After that, an error closes the WebSocket.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, request: CurrentRequest) -> None:
        self._scope, self._receive, self._send, self._request = scope, receive, send, request
        self.code = 0
        """The code with which it was closed; 0 while it is open."""

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.receive":
            self._request.received_bytes += _size(message)
        if message["type"] == "websocket.disconnect":
            self.code = self.code or message.get("code", 0)
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"].removeprefix("websocket.")
        if kind == "accept":
            await self._accept(message)
        elif self._request.status != _ACCEPTED:
            await self._refuse(kind, message)
        elif kind == "send":
            self._request.sent_bytes += _size(message)
            await self._send(message)
        elif kind == "http.response.start":
            await self._close(_DEFECT if message["status"] >= SERVER_ERROR else _POLICY)
        elif kind == "close":
            await self._close(message.get("code", 1000), message.get("reason") or "")

    async def _accept(self, message: Message) -> None:
        chosen = message.get("subprotocol") or (_BEARER if _BEARER in self._scope["subprotocols"] else None)
        headers = [*message.get("headers", ()), (b"x-request-id", self._request.id.encode("ascii"))]
        await self._send({**message, "subprotocol": chosen, "headers": headers})
        self._request.status = _ACCEPTED
        self._request.stream = stream = Stream(self._request.task, time.perf_counter())
        streams.end_with_token(stream, self._scope)

    async def _refuse(self, kind: str, message: Message) -> None:
        if kind == "close":
            is_found = "endpoint" in self._scope
            error = errors.Forbidden("The service refuses this WebSocket.") if is_found else errors.NotFound()
            await problem_of(error)(self._scope, self._receive, self.send)
            return
        if kind == "http.response.start":
            self._request.status = message["status"]
            message = {**message, "headers": with_headers(message.get("headers", ()), self._request.id)}
        self._request.sent_bytes += len(message.get("body", b""))
        await self._send({**message, "type": f"websocket.{kind}"})

    async def _close(self, code: int, reason: str = "") -> None:
        if not self.code:
            self.code = code
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def finish(self) -> None:
        """Close the WebSocket, because its handler has returned. uvicorn would end it without a close frame."""
        if self._request.status == _ACCEPTED:
            await self._close(1000)
        elif not (self._request.status or self.code):
            raise RuntimeError("The handler of this WebSocket returned without an answer: call `accept` or `close`.")

    async def end_cancelled(self, error: asyncio.CancelledError) -> None:
        """End the WebSocket: the token has expired, the worker stops, or the client has left; `error` has its code."""
        stream, reason = self._request.stream, error.args[0] if error.args else None
        if task := current_task():
            task.uncancel()
        if isinstance(reason, int):
            self.code = self.code or reason
            self._request.status = self._request.status or _CLIENT_LEFT
            return
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_LAST_SECONDS):
                if stream is None:
                    refusal = problem_of(errors.Unavailable("The service is stopping; try again."))
                    await refusal(self._scope, self._receive, self.send)
                else:
                    await self._close(_UNAUTHORIZED if stream.end == streams.EXPIRED else _RESTART)


def _size(message: Message) -> int:
    content = message.get("bytes")
    return len(message["text"].encode() if content is None else content)


def _take_token(scope: Scope) -> None:
    """Move a token from `Sec-WebSocket-Protocol: bearer, TOKEN` to `Authorization`, where sign-in looks for it."""
    given, headers = scope["subprotocols"], scope["headers"]
    if len(given) > 1 and given[0] == _BEARER:
        kept = [field for field in headers if field[0] != b"sec-websocket-protocol"]
        # If the request has that header too, it then has two tokens, which sign-in refuses.
        scope["headers"] = [*kept, (b"authorization", b"Bearer " + given[1].encode("latin-1"))]
        scope["subprotocols"] = [_BEARER, *given[2:]]

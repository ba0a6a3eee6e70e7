"""Bounds for what one client can do to the service with one connection.

uvicorn's protocol lacks several bounds. A client may take for ever to send a request or to read an answer. A head may
be of any size. Pipelined requests pile up in memory. A request that asks for an upgrade loses its body, which is then
read as the next request. The classes in this folder prevent all this, at almost no cost for an ordinary request.
"""

import asyncio
from collections import deque
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import FlowControl

from groundwork.fast.cycle import SingleWriteCycle
from groundwork.fast.refusing import DISCARDED
from groundwork.fast.request_head import CHECKED, Refused, check, origin_form, refusal, refuse_connect
from groundwork.fast.watching import WatchedProtocol
from groundwork.http.body_limit import STREAMED
from groundwork.http.byte_budget import SMALL_BYTES, budget

HEAD_LIMIT_BYTES = 64 * 1024
"""The largest size of a request's line and headers together, and of the bytes between two parts of a body.

Bytes that came in one read with the end of the previous request are not counted, because that would cost every request.
They are at most a quarter of a megabyte.
"""
FIELD_LIMIT = 100
"""The largest number of header fields, as in Apache. Each takes about 200 bytes of memory, however short it is."""
LINGER_LIMIT_BYTES = 16 * 1024 * 1024
"""How much a client may still send after a refusal. Many clients send their whole request before they read it."""
PIPELINE_LIMIT = 100
"""How many requests may wait on one connection for the answers to earlier ones."""

# The memory that a waiting request takes beside its bytes: for its scope, and for the objects of each field.
_REQUEST_BYTES = 3000
_FIELD_BYTES = 200
# The most bytes that uvloop reads at once.
_READ_LIMIT_BYTES = 256 * 1024

_SLASH = b"/"[0]
_HEAD_TOO_LARGE = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The request's line and headers are larger than {HEAD_LIMIT_BYTES} bytes.",
)
_TOO_MANY_FIELDS = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The request has more than {FIELD_LIMIT} header fields.",
)
_PIPELINE_TOO_LONG = (HTTPStatus.BAD_REQUEST, f"More than {PIPELINE_LIMIT} requests wait on this connection.")
_NO_ROOM = (
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The service has no memory left for large requests at this moment; try again shortly.",
)


class _FlowControl(FlowControl):
    """Stops reading while requests wait on the connection. uvicorn would read on after each answer."""

    def __init__(self, transport: asyncio.Transport, pipeline: deque[Any]) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        if self.read_paused and not self._pipeline:
            super().resume_reading()


class BoundedProtocol(WatchedProtocol):
    """uvicorn's HTTP protocol, with bounds of time, size and number."""

    app: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._read_bytes = 0
        """The bytes received since the last whole request or part of a body."""
        self._checked: list[tuple[bytes, bytes]] = []
        """The headers that `request_head.check` takes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _FlowControl(transport, self.pipeline)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # Ends the reference cycle between a request and its connection. Otherwise a handler that still runs would keep
        # both in memory until the collector frees them.
        self.pipeline.clear()
        self.cycle = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._read_bytes += len(data)
        if self._refusal is not None:
            if self._read_bytes > LINGER_LIMIT_BYTES:
                self.transport.abort()
            return
        self._received_bytes += len(data)
        if self._received_bytes > SMALL_BYTES:
            if self.scope is not None and STREAMED in self.scope and not self.pipeline:
                self._streamed_bytes += len(data)
                self._received_bytes = len(self.cycle.body) + len(data)
            self._received.set(self._received_bytes)
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self.ws_protocol_class and len(data) == upgrade.args[0] and self._is_handshake():
                    self._hand_over()
                    return
                data = self._without_upgrade() + data[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                self._refuse(*refusal(error, data))
                return
            else:
                break
        if self._read_bytes or self._received.size:
            self._check_unfinished()

    def _check_unfinished(self) -> None:
        """Refuse a request that is too large. Called when part of a request, or a large one, may have arrived."""
        if self._read_bytes > HEAD_LIMIT_BYTES:
            self._refuse(*_HEAD_TOO_LARGE)
        elif self.headers and len(self.headers) > FIELD_LIMIT:
            self._refuse(*_TOO_MANY_FIELDS)
        elif self._received.size and budget.is_exceeded and self._is_unfinished():
            self._refuse(*_NO_ROOM)

    def _is_handshake(self) -> bool:
        """Whether the connection becomes a WebSocket. Other upgrades are ignored."""
        protocol: Any = self.ws_protocol_class
        if self.app is not self.config.loaded_app or not (self.cycle is None or self.cycle.response_complete):
            return False
        if self.url[0] != _SLASH or self._head_bytes() > HEAD_LIMIT_BYTES:
            return False
        with suppress(Refused):
            check(self.parser.get_http_version(), self._checked)
            return bool(protocol.takes(self.parser.get_method().decode("ascii"), self.url, self.headers))
        return False

    def _hand_over(self) -> None:
        """Give the connection to the WebSocket's protocol, and free what this one holds."""
        self.scope["method"] = "GET"
        self.handle_websocket_upgrade()
        self._release(0)
        self.connection_lost(ConnectionAbortedError())

    def _without_upgrade(self) -> bytes:
        """The request's head without its Upgrade field, to be parsed again.

        A server may ignore an upgrade and serve the request (RFC 9110, 7.8). But the parser stops before the body, and
        would then take the body for another request.
        """
        line = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        fields = [b"%s: %s\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"".join([line, *fields, b"\r\n"])

    def on_message_begin(self) -> None:
        # The idle time does not end at the first byte, because blank lines may precede a request.
        self._idle_since = None
        self._checked = []
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in CHECKED:
            self._checked.append((name, value))
        # Blanks at the end are no part of a value (RFC 9112, 5). The parser refuses other white space.
        self.headers.append((name, value.rstrip()))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            refuse_connect(self.parser.get_method())
            return
        if len(self.pipeline) >= PIPELINE_LIMIT:
            raise Refused(*_PIPELINE_TOO_LONG)
        if self._read_bytes > HEAD_LIMIT_BYTES and self._head_bytes() > HEAD_LIMIT_BYTES:
            raise Refused(*_HEAD_TOO_LARGE)
        if len(self.headers) > FIELD_LIMIT:
            raise Refused(*_TOO_MANY_FIELDS)
        if self._received.size and budget.is_exceeded:
            raise Refused(*_NO_ROOM)
        version, method = self.parser.get_http_version(), self.parser.get_method()
        self.expect_100_continue = check(version, self._checked)
        if self.url[0] != _SLASH:
            self.url = origin_form(self.url, method, self.headers)
        self._begin_request(version, method)
        if self.pipeline:
            self._received_bytes += _REQUEST_BYTES + _FIELD_BYTES * len(self.headers)
            self._received.set(self._received_bytes)
        # From here on, trailers are discarded, so that they are not taken for headers.
        self.headers = self._checked = DISCARDED

    def _begin_request(self, version: str, method: bytes) -> None:
        """Do what uvicorn's `on_headers_complete` does, but without WebSockets and without a limit of concurrency.

        uvicorn's method has no setting for the class of the cycle, and asks the parser for the version a second time.
        """
        scope: Any = self.scope
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["method"] = method.decode("ascii")
        scope["http_version"] = version
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        waiting_for = self.cycle
        # By position, because naming the arguments would double the cost.
        self.cycle = SingleWriteCycle(
            scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            self.access_log,
            self.server_state.default_headers,
            asyncio.Event(),
            self.expect_100_continue,
            version != "1.0" and self.parser.should_keep_alive(),
            self.on_response_complete,
        )
        if waiting_for is None or waiting_for.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        self._read_bytes = 0
        super().on_body(body)
        if self.cycle.response_complete:
            self._release(0)  # the request is answered, so its body is not kept

    def on_message_complete(self) -> None:
        cycle = self.cycle
        # The scope differs if the request asked for an upgrade, because its head is parsed again. A complete response
        # needs no body.
        if cycle is not None and cycle.scope is self.scope and not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()
        self._read_bytes = 0

    def on_response_complete(self) -> None:
        """Do what uvicorn's method does, but without its timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._send_refusal()
        elif self.scope is self.cycle.scope:
            self._idle_since = self.loop.time()
            self._received_bytes = 0
            if self._received.size:
                self._received.set(0)
        else:
            # Another request has begun. Part of it may have come in the same read as the end of this one.
            self._release(min(self._received_bytes, self._read_bytes + _READ_LIMIT_BYTES))

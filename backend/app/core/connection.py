"""What one client may do to the service with one connection.

uvicorn's protocol leaves much of it open: a client may take for ever to send a request or to read an answer, a head
may be of any size, pipelined requests pile up in memory, and a request that asks for an upgrade loses its body, which
is then read as a request of its own. Here each of these has an end, at next to no cost for an ordinary request.
"""

import asyncio
import logging
import os
from collections import deque
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.core.cycle import Cycle
from app.core.problems import problem
from app.core.request_head import CHECKED, Refused, check, origin_form, refusal, refuse_connect
from app.core.response_headers import with_headers

logger = logging.getLogger(__name__)

HEAD_LIMIT_BYTES = 64 * 1024
"""Of a request's line and headers; also of what may come between two parts of a body.

Not counted is what came in one read with the end of the request before, so that counting costs nothing: a quarter of a
megabyte at most.
"""
LINGER_LIMIT_BYTES = 16 * 1024 * 1024
"""Of what a client sends after its refusal, so that it may finish and read the refusal."""
PIPELINE_LIMIT = 100
"""Requests that may wait on one connection for those before them."""

_DISCARDED: Any = deque(maxlen=0)
_SLASH = b"/"[0]
_HEAD_TOO_LARGE = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The request's line and headers are larger than {HEAD_LIMIT_BYTES} bytes.",
)
_PIPELINE_TOO_LONG = (HTTPStatus.BAD_REQUEST, f"More than {PIPELINE_LIMIT} requests wait on this connection.")
_TOO_SLOW = (HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive whole in time.")


class _FlowControl(FlowControl):
    """Reads no more while requests wait for those before them; uvicorn reads on with each that it answers."""

    def __init__(self, transport: asyncio.Transport, pipeline: deque[Any]) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        if not self._pipeline:
            super().resume_reading()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with an end to everything that a client can begin.

    One timer for each connection looks now and then at what it waits for. uvicorn's own, for the idle time, is set and
    cancelled with each request, which costs as much as parsing it.

    Args:
        client_seconds: how long a client may take to send a request, or take nothing of an answer. It is looked at
            once in as many seconds: the cut comes after one to two times it.
    """

    def __init__(self, *args: Any, client_seconds: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._client_seconds = client_seconds
        self._watch: asyncio.TimerHandle | None = None
        self._idle_since: float | None = None
        self._unfinished: Any = None  # the request that was on its way when the watch last looked
        self._unsent_bytes = 0
        self._read_bytes = 0  # since the last whole request or part of a body
        self._at_eof = False
        self._checked: list[tuple[bytes, bytes]] = []  # the headers that `core.request_head` looks at
        self._refusal: bytes | None = None  # the last thing to be said on this connection, once it is known

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _FlowControl(transport, self.pipeline)
        # A connection may be idle before its first request as long as between two.
        self._idle_since = self.loop.time()
        self._watch = self.loop.call_later(self._client_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.pipeline.clear()
        if self._watch:
            self._watch.cancel()

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that has said all that it wants still gets the answers."""
        self._at_eof = True
        cycle = self.cycle
        if self._refusal is None and cycle is not None and not cycle.response_complete:
            if cycle.more_body and self.pipeline:
                self.pipeline.popleft()
                self._refusal = b""
            elif not cycle.more_body:
                self._refusal = b""
        if self._refusal is None or self.transport.is_closing():
            self.transport.close()
        return True

    def data_received(self, data: bytes) -> None:
        self._read_bytes += len(data)
        if self._refusal is not None:
            if self._read_bytes > LINGER_LIMIT_BYTES:
                self.transport.abort()
            return
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade() + data[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                self._refuse(*refusal(error, data))
                return
            else:
                break
        if self._read_bytes > HEAD_LIMIT_BYTES:
            self._refuse(*_HEAD_TOO_LARGE)

    def _without_upgrade(self) -> bytes:
        """The head that asked for an upgrade, to be parsed again without it.

        An upgrade may be ignored, and the request served as it is (RFC 9110, 7.8). The parser stops before the body all
        the same, and what stands there must never be taken for another request.
        """
        line = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        fields = [b"%s: %s\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"".join([line, *fields, b"\r\n"])

    def on_message_begin(self) -> None:
        # Not at the first byte: blank lines are none of a request.
        self._idle_since = None
        self._checked = []
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in CHECKED:
            self._checked.append((name, value))
        # Blanks at the end are no part of a value (RFC 9112, 5).
        self.headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            refuse_connect(self.parser.get_method())
            return
        if len(self.pipeline) >= PIPELINE_LIMIT:
            raise Refused(*_PIPELINE_TOO_LONG)
        if self._read_bytes > HEAD_LIMIT_BYTES and self._head_bytes() > HEAD_LIMIT_BYTES:
            raise Refused(*_HEAD_TOO_LARGE)
        self.expect_100_continue = check(self.parser.get_http_version(), self._checked)
        if self.url[0] != _SLASH:
            self.url = origin_form(self.url, self.parser.get_method(), self.headers)
        super().on_headers_complete()
        # Trailers: not to be taken for headers, nor kept.
        self.headers = self._checked = _DISCARDED

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # uvicorn makes it, and has no setting for its class.
        cycle.__class__ = Cycle
        super()._start_asgi_task(cycle, app)

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        self._read_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        cycle = self.cycle
        # Not so when it asked for an upgrade, or is answered already.
        if cycle is not None and cycle.scope is self.scope and not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()
        self._read_bytes = 0

    def on_response_complete(self) -> None:
        """What uvicorn does here, but for its timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._send_refusal()
        elif self.scope is self.cycle.scope:  # else another request has begun
            self._idle_since = self.loop.time()

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer the request that is on its way after all those before it, and close the connection."""
        id_ = os.urandom(16).hex()
        logger.info("request refused", extra={"request_id": id_, "status": status.value, "detail": detail})
        answer = problem(status, detail, headers={"connection": "close"})
        # When the worker is about to end, `connection` is in both.
        fields = dict([*self.server_state.default_headers, *with_headers(answer.raw_headers, id_)])
        head = b"".join(b"%s: %s\r\n" % field for field in fields.items())
        self._refusal = STATUS_LINE[status] + head + b"\r\n" + bytes(answer.body)
        self._idle_since = None
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            # Nothing comes before it; or it was answered before its body was whole, and one answer is enough.
            self._send_refusal(answered=cycle is not None and cycle.scope is self.scope)
        elif cycle.scope is self.scope and cycle.more_body:
            cycle.disconnected = True
            cycle.message_event.set()
            if self.pipeline:
                self.pipeline.popleft()
            else:
                self._send_refusal(answered=cycle.response_started)

    def _send_refusal(self, *, answered: bool = False) -> None:
        if self.transport.is_closing():
            return
        if self._refusal and not answered:
            self.transport.write(self._refusal)
        self.transport.close()

    def linger(self) -> bool:
        """When the connection shall be closed: whether the client still sends, and has to be heard to the end.

        A close with anything unread resets the connection, and the last answers are lost on their way (RFC 9112, 9.6).
        So this side closes alone, and what comes is thrown away until the client closes too or its time is over.
        """
        begun = self.cycle is not None and (self.cycle.more_body or self.scope is not self.cycle.scope)
        if self._at_eof or not (begun or self._refusal is not None):
            return False
        self._refusal = b""
        self.transport.write_eof()
        self.transport.resume_reading()
        if self._watch:
            self._watch.cancel()
        self._watch = self.loop.call_later(self._client_seconds, self.transport.abort)
        return True

    def _look(self) -> None:
        """Cut a client that makes the service wait for the same thing as when this looked last, or that is idle."""
        self._watch = self.loop.call_later(self._client_seconds, self._look)
        unsent_bytes = self.transport.get_write_buffer_size()
        unfinished = self.scope if self._is_receiving() else None
        if unsent_bytes and unsent_bytes == self._unsent_bytes:
            logger.info("connection cut: the client does not read its answer")
            self.transport.abort()
        elif unfinished is not None and unfinished is self._unfinished and self._refusal is None:
            self._refuse(*_TOO_SLOW)
        elif self._idle_since is not None and not unsent_bytes:
            self._look_at_idle(self._idle_since + self.timeout_keep_alive - self.loop.time())
        self._unsent_bytes, self._unfinished = unsent_bytes, unfinished

    def _look_at_idle(self, remaining_seconds: float) -> None:
        if remaining_seconds <= 0:
            self.transport.close()
        elif self._watch and remaining_seconds < self._client_seconds:
            self._watch.cancel()
            self._watch = self.loop.call_later(remaining_seconds, self._look)

    def _is_receiving(self) -> bool:
        """Whether a request has begun and is not whole."""
        if self._idle_since is not None or self.flow.read_paused:
            return False
        return "method" not in self.scope or self.cycle.more_body

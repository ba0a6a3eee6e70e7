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
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from groundwork.fast.cycle import SingleWriteCycle
from groundwork.fast.request_head import CHECKED, Refused, check, origin_form, refusal, refuse_connect
from groundwork.fast.send_buffer import SendProgress, limit_kernel_buffer, send_progress
from groundwork.http.byte_budget import SMALL_BYTES, Charge, budget
from groundwork.http.problems import RETRY_AFTER_SECONDS, problem
from groundwork.http.response_headers import with_headers

logger = logging.getLogger(__name__)

HEAD_LIMIT_BYTES = 64 * 1024
"""Of a request's line and headers; also of what may come between two parts of a body.

Not counted is what came in one read with the end of the request before, so that counting costs nothing: a quarter of a
megabyte at most.
"""
FIELD_LIMIT = 100
"""Header fields of a request, as in Apache. Each takes about 200 bytes of memory, however short it is."""
LINGER_LIMIT_BYTES = 16 * 1024 * 1024
"""Of what a client sends after its refusal, so that it may finish and read the refusal."""
PIPELINE_LIMIT = 100
"""Requests that may wait on one connection for those before them."""

# What waiting requests take beside the bytes that were sent: each its scope, and each field its objects.
_REQUEST_BYTES = 3000
_FIELD_BYTES = 200
# uvloop reads at most as much at once.
_READ_LIMIT_BYTES = 256 * 1024

_DISCARDED: Any = deque(maxlen=0)
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
_TOO_SLOW = (HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive whole in time.")
_NO_ROOM = (
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The service has no memory left for large requests at this moment; try again shortly.",
)


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
        self._progress: tuple[SendProgress, Any] | None = None  # of the answers, when the watch last looked
        self._lingering = False
        self._read_bytes = 0  # since the last whole request or part of a body
        self._received_bytes = 0  # and not yet answered
        self._received = Charge()
        self._unsent = Charge()
        self._at_eof = False
        self._checked: list[tuple[bytes, bytes]] = []  # the headers that `core.request_head` looks at
        self._refusal: bytes | None = None  # the last thing to be said on this connection, once it is known

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _FlowControl(transport, self.pipeline)
        # An answer of which the last byte waits is held whole: writing goes on when none waits.
        transport.set_write_buffer_limits(high=SMALL_BYTES, low=0)
        limit_kernel_buffer(transport)
        # A connection may be idle before its first request as long as between two.
        self._idle_since = self.loop.time()
        self._watch = self.loop.call_later(self._client_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unsent.set(0)
        # A request and its connection hold each other. Whatever still refers to this one, a running handler with its
        # request for example, must not keep it alive once it has ended: the collector looks seldom.
        self.pipeline.clear()
        self.cycle = None  # type: ignore[assignment]
        if self._watch:
            self._watch.cancel()
            self._watch = None

    def pause_writing(self) -> None:
        """The transport calls it when the client does not take its answer as fast as it is written."""
        super().pause_writing()
        self._unsent.set(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent.set(0)

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
        self._received_bytes += len(data)
        if self._received_bytes > SMALL_BYTES:
            self._received.set(self._received_bytes)
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
        if self._read_bytes or self._received.size:
            self._check_unfinished()

    def _check_unfinished(self) -> None:
        """Called when a request may have begun that is not whole, or that is not small."""
        if self._read_bytes > HEAD_LIMIT_BYTES:
            self._refuse(*_HEAD_TOO_LARGE)
        elif self.headers and len(self.headers) > FIELD_LIMIT:
            self._refuse(*_TOO_MANY_FIELDS)
        elif self._received.size and budget.is_exceeded and self._is_unfinished():
            self._refuse(*_NO_ROOM)

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
        # Blanks at the end are no part of a value (RFC 9112, 5). The parser lets no other white space pass.
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
        # Trailers: not to be taken for headers, nor kept.
        self.headers = self._checked = _DISCARDED

    def _begin_request(self, version: str, method: bytes) -> None:
        """What uvicorn's `on_headers_complete` does, but for WebSockets and its limit of concurrency.

        It would ask the parser for the version once more, and has no setting for the class of the cycle.
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
        self.cycle = SingleWriteCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
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
            self._release(0)  # nobody wants it any more, and it is not kept

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
        elif self.scope is self.cycle.scope:
            self._idle_since = self.loop.time()
            self._received_bytes = 0
            if self._received.size:
                self._received.set(0)
        else:
            # Another request has begun, some of it perhaps in the same read as the end of this one.
            self._release(min(self._received_bytes, self._read_bytes + _READ_LIMIT_BYTES))

    def _release(self, kept_bytes: int) -> None:
        """Count no more of what was received than this."""
        self._received_bytes = kept_bytes
        if self._received.size:
            self._received.set(kept_bytes)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer the request that is on its way after all those before it, and close the connection."""
        id_ = os.urandom(16).hex()
        logger.info("request refused", extra={"request_id": id_, "status": status.value, "detail": detail})
        headers = {"connection": "close"}
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers["retry-after"] = str(RETRY_AFTER_SECONDS)
        answer = problem(status, detail, headers=headers)
        # When the worker is about to end, `connection` is in both.
        fields = dict([*self.server_state.default_headers, *with_headers(answer.raw_headers, id_)])
        head = b"".join(b"%s: %s\r\n" % field for field in fields.items())
        self._refusal = STATUS_LINE[status] + head + b"\r\n" + bytes(answer.body)
        self._idle_since = None
        self._drop_unfinished()
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

    def _drop_unfinished(self) -> None:
        """Free what was received of a refused request: its connection stays until the client has read the refusal."""
        if self.scope is not None and "method" not in self.scope:
            self.headers = _DISCARDED
            self.scope["headers"] = []
            self.parser = None  # it holds a field that has no end yet
        elif self.cycle is not None and self.cycle.more_body:
            self.cycle.body = bytearray()
        if not self.pipeline and (self.cycle is None or self.cycle.response_complete or self.cycle.more_body):
            self._release(0)

    def _send_refusal(self, *, answered: bool = False) -> None:
        if self.transport.is_closing():
            return
        if self._refusal and not answered:
            self.transport.write(self._refusal)
        self.transport.close()

    def linger(self) -> bool:
        """When the connection shall be closed: whether the client still sends, and has to be heard to the end.

        A close with anything unread resets the connection, and the last answers are lost on their way (RFC 9112, 9.6).
        So this side closes alone, and what comes is thrown away until the client closes too. It is cut when it has
        taken nothing of its last answers, or all of them and does not close, for as long as other clients are.
        """
        begun = self.cycle is not None and (self.cycle.more_body or self.scope is not self.cycle.scope)
        if self._at_eof or not (begun or self._refusal is not None):
            return False
        self._refusal = b""
        self.transport.write_eof()
        self.transport.resume_reading()
        self._lingering = True
        return True

    def _look(self) -> None:
        """Cut a client that makes the service wait for the same thing as when this looked last, or that is idle."""
        self._watch = self.loop.call_later(self._client_seconds, self._look)
        sent = send_progress(self.transport)
        # The same bytes may wait of another answer: where the system tells no more, its request does.
        progress = (sent, self.cycle)
        unfinished = self.scope if self._is_receiving() else None
        if (sent.waiting_bytes or self._lingering) and progress == self._progress:
            self._cut(sent.waiting_bytes)
        elif unfinished is not None and unfinished is self._unfinished and self._refusal is None:
            self._refuse(*_TOO_SLOW)
        elif self._idle_since is not None and not sent.waiting_bytes:
            self._look_at_idle(self._idle_since + self.timeout_keep_alive - self.loop.time())
        self._progress, self._unfinished = progress, unfinished

    def _cut(self, waiting_bytes: int) -> None:
        if waiting_bytes:
            logger.info("connection cut: the client does not read its answer")
        self.transport.abort()

    def _look_at_idle(self, remaining_seconds: float) -> None:
        if remaining_seconds <= 0:
            self.transport.close()
        elif self._watch and remaining_seconds < self._client_seconds:
            self._watch.cancel()
            self._watch = self.loop.call_later(remaining_seconds, self._look)

    def _is_receiving(self) -> bool:
        """Whether the client is waited for, to send the rest of a request."""
        return not self.flow.read_paused and self._is_unfinished()

    def _is_unfinished(self) -> bool:
        """Whether a request has begun and is not whole."""
        return self._idle_since is None and ("method" not in self.scope or self.cycle.more_body)

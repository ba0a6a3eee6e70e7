"""uvicorn's WebSocket protocol, with limits. Only a service with `WEBSOCKETS=true` imports this."""

import asyncio
import logging
import re
from asyncio import current_task
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

from groundwork.http.byte_budget import SMALL_BYTES, Charge, budget

# uvicorn logs the path with the user's id, and the package logs every header and message.
_quiet = logging.getLogger("uvicorn.error.websocket")
_quiet.setLevel(logging.WARNING)
# This is a fault of the client, but uvicorn logs it with a traceback.
_quiet.addFilter(lambda record: not str(record.msg).startswith("Invalid UTF-8"))

_PIECE_BYTES = 4096
"""How much is parsed at once. At most the messages of one such piece wait for the handler."""
_LEAVE_SECONDS = 1.0
"""How long a handler or a client may take to notice the end."""
_LINE_BYTES, _FIELDS = 8000, 100
_is_key = re.compile(rb"[A-Za-z0-9+/]{22}==").fullmatch
_BODY = {b"content-length", b"transfer-encoding", b"expect"}


class SocketProtocol(WebSocketsSansIOProtocol):
    """Limits the memory that a client can use. The connection ends when its client, handler or worker ends."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = self.conn.logger = _quiet
        self.conn.debug = False
        self._unread = bytearray()
        self._charge = Charge()
        self._task: asyncio.Task[Any] | None = None
        self._cut: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._is_discarding = False

    @staticmethod
    def takes(method: str, url: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether the request is an opening handshake (RFC 6455, 4.2.1) without a body, of a size that can be read."""
        fields = dict(headers)
        return (
            method == "GET"
            and fields.get(b"upgrade", b"").lower() == b"websocket"
            and fields.get(b"sec-websocket-version") == b"13"
            and _is_key(fields.get(b"sec-websocket-key", b"")) is not None
            and _BODY.isdisjoint(fields)
            and url.isascii()
            and len(headers) <= _FIELDS
            and all(len(name) + len(value) < _LINE_BYTES for name, value in [(b"", url), *headers])
        )

    async def run_asgi(self) -> None:
        self._task = current_task()
        await super().run_asgi()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self._abort_later(self.ping_timeout or _LEAVE_SECONDS)

    def _abort_later(self, seconds: float) -> None:
        """Abort the connection after a pause. A client that reads nothing would keep it open."""
        if self._cut is None and not self.disconnected:
            self._cut = self.loop.call_later(seconds, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._charge.set(0)
        if self._cut:
            self._cut.cancel()
        if self._task and not self._task.done():
            # A handler that does not call `receive` would not notice the end.
            closed = self.conn.close_rcvd or self.conn.close_sent
            self.loop.call_later(_LEAVE_SECONDS, self._task.cancel, int(closed.code if closed else 1006))

    def data_received(self, data: bytes) -> None:
        if self._is_discarding:
            return
        self._unread += data
        if self.handshake_initiated and not self.handshake_complete:
            self.transport.pause_reading()  # what the client sends before the handshake's answer is read after it
            return
        self._parse()
        if not (self.handshake_initiated or self.transport.is_closing()):
            self.transport.close()  # the head cannot be read, and nothing else would end the connection

    def _parse(self) -> None:
        while self._unread and not self.read_paused and not self.transport.is_closing():
            piece = bytes(self._unread[:_PIECE_BYTES]) if self.handshake_initiated else bytes(self._unread)
            del self._unread[: len(piece)]
            super().data_received(piece)
        if self._is_discarding:
            return
        size = len(self._unread) + len(self.conn.reader.buffer) + (self.conn.current_size or 0)
        if self.queue.empty() or size > self._charge.size:
            self._charge.set(size if size > SMALL_BYTES else 0)
        if self._charge.size and budget.is_exceeded and not (self.close_sent or self.transport.is_closing()):
            self.conn.fail(CloseCode.TRY_AGAIN_LATER, "no memory left for large messages")
            self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Close the WebSocket of a client that breaks a rule or a limit, and discard what it still sends.

        Closing the connection while it has unread data would reset it, and the client could lose the close frame. So
        it stays open until the client closes it, at most as long as a ping may stay unanswered.
        """
        if self._is_discarding:
            return
        self._is_discarding = True
        self._unread.clear()
        self.frames.clear()
        self._charge.set(0)
        closed = self.conn.close_sent
        self._abort_later(_LEAVE_SECONDS + (self.ping_timeout or 0))
        self._close_with(closed.code if closed else CloseCode.PROTOCOL_ERROR, self._end_writing)

    def _end_writing(self) -> None:
        """Close this side, because many clients wait for that. If it came at once, nginx would reset its client."""
        if not self.transport.is_closing():
            self.transport.write_eof()

    def handle_cont(self, event: Frame) -> None:
        if event.data or event.fin:  # empty frames would be kept, and there is no limit to their number
            super().handle_cont(event)

    async def receive(self) -> Any:
        message = await super().receive()
        self._parse()
        if not self.writable.is_set():
            self.transport.pause_reading()
        return message

    async def send(self, message: Any) -> None:
        await asyncio.sleep(0)  # a loop that sends to a client that has left never waits, and would stop the worker
        await self.writable.wait()
        if self.handshake_complete and (self.close_sent or self.transport.is_closing()):
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.accept":
            self.transport.resume_reading()
            self._parse()
        if self._is_stopping:
            self.shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()  # each ping that is read adds an answer

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._abort_later(_LEAVE_SECONDS)

    def shutdown(self) -> None:
        """Tell the client that the worker ends, and wait a moment for its answer."""
        self._is_stopping = True
        if self.close_sent:  # the client was told already, and may not keep the worker from ending
            self.loop.call_later(_LEAVE_SECONDS, self.transport.abort)
        if not self.handshake_complete or self.close_sent or self.disconnected:
            return  # a handshake is answered first
        with suppress(Exception):
            self.conn.send_close(CloseCode.SERVICE_RESTART)
        self._close_with(CloseCode.SERVICE_RESTART, self.transport.close)
        self._parse()

    def _close_with(self, code: int, then: Callable[[], None]) -> None:
        """Send the close frame, tell the handler, and give the client a moment before the next step."""
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": int(code)})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent, self.read_paused = True, False
        self.transport.resume_reading()
        if self.close_timer:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(_LEAVE_SECONDS, then)
        self._abort_later(2 * _LEAVE_SECONDS)

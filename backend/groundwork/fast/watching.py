"""Limits the time that a client may take."""

import asyncio
import logging
from functools import partial
from http import HTTPStatus
from typing import Any

from groundwork.fast.refusing import RefusingProtocol
from groundwork.fast.send_buffer import SendProgress, is_reset, limit_kernel_buffer, send_progress
from groundwork.http.byte_budget import SMALL_BYTES, Charge

logger = logging.getLogger(__name__)

_HALF_CLOSED_SECONDS = 0.5
"""The time between two looks at a connection whose client sends no more."""
_TOO_SLOW = (HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive completely in time.")


class WatchedProtocol(RefusingProtocol):
    """Cuts off a client that sends its request, or reads its answer, too slowly.

    A timer checks every `client_seconds` whether the client has made progress. uvicorn's timer is for idle time only.
    It is set and cancelled with each request, which costs as much as parsing the request.

    Args:
        client_seconds: how long a client may take to send a request, or may read nothing of an answer. The connection
            is cut after this time at the earliest, and after twice this time at the latest.
    """

    def __init__(self, *args: Any, client_seconds: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._client_seconds = client_seconds
        self._watch: asyncio.TimerHandle | None = None
        self._unfinished: Any = None
        """The scope of the request that was being received at the last look."""
        self._progress: tuple[SendProgress, Any] | None = None
        """The progress of the answers, and the cycle, at the last look."""
        self._unsent = Charge()
        self._half_closed: asyncio.TimerHandle | None = None
        self._streamed_bytes = 0
        """The bytes that have arrived since the last look, of a body that its route reads part by part."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Writing pauses at `high` and goes on when the buffer is empty, so that no part of an answer is left in it.
        transport.set_write_buffer_limits(high=SMALL_BYTES, low=0)
        limit_kernel_buffer(transport)
        # A connection may be idle before its first request for as long as between two requests.
        self._idle_since = self.loop.time()
        self._watch = self.loop.call_later(self._client_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unsent.set(0)
        for timer in (self._watch, self._half_closed):
            if timer:
                timer.cancel()

    def eof_received(self) -> bool:  # type: ignore[override]
        super().eof_received()
        self._look_at_half_closed(has_probed=False)
        return True

    def _look_at_half_closed(self, *, has_probed: bool) -> None:
        """Find out whether a client that sends no more still reads its answer, if that is a stream.

        Both look the same until something is sent: a client that has closed the connection then resets it. A leading
        zero of the next chunk's size is sent. It changes nothing for a client that reads (RFC 9112, 7.1).
        """
        cycle = self.cycle
        if self.transport.is_closing() or cycle is None or cycle.response_complete:
            return
        if is_reset(self.transport):
            self.transport.abort()
            return
        if cycle.chunked_encoding and not has_probed:
            self.transport.write(b"0")
            has_probed = True
        look = partial(self._look_at_half_closed, has_probed=has_probed)
        self._half_closed = self.loop.call_later(_HALF_CLOSED_SECONDS, look)

    def pause_writing(self) -> None:
        """Called by the transport when the client reads its answer more slowly than it is written."""
        super().pause_writing()
        self._unsent.set(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent.set(0)

    def _look(self) -> None:
        """Cut the client if nothing has changed since the last look, or if it is idle for too long."""
        self._watch = self.loop.call_later(self._client_seconds, self._look)
        sent = send_progress(self.transport)
        # The cycle distinguishes two answers on systems that do not tell how many bytes were acknowledged.
        progress = (sent, self.cycle)
        # None while the service does not read, or waits for no more of a request.
        unfinished = self.scope if not self.flow.read_paused and self._is_unfinished() else None
        if (sent.waiting_bytes or self._lingering) and progress == self._progress:
            if sent.waiting_bytes:
                logger.info("connection cut: the client does not read its answer")
            self.transport.abort()
        elif unfinished is not None and unfinished is self._unfinished and self._refusal is None:
            if self._streamed_bytes < SMALL_BYTES:
                self._refuse(*_TOO_SLOW)
        elif self._idle_since is not None and not sent.waiting_bytes:
            self._look_at_idle(self._idle_since + self.timeout_keep_alive - self.loop.time())
        self._progress, self._unfinished, self._streamed_bytes = progress, unfinished, 0

    def _look_at_idle(self, remaining_seconds: float) -> None:
        if remaining_seconds <= 0:
            self.transport.close()
        elif self._watch and remaining_seconds < self._client_seconds:
            self._watch.cancel()
            self._watch = self.loop.call_later(remaining_seconds, self._look)

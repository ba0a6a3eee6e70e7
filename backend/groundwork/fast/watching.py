"""Limits the time that a client may take."""

import asyncio
import logging
from http import HTTPStatus
from typing import Any

from groundwork.fast.refusing import RefusingProtocol
from groundwork.fast.send_buffer import SendProgress, limit_kernel_buffer, send_progress
from groundwork.http.byte_budget import SMALL_BYTES, Charge

logger = logging.getLogger(__name__)

_TOO_SLOW = (HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive completely in time.")


class WatchedProtocol(RefusingProtocol):
    """Cuts a client off that sends its request, or takes its answer, too slowly.

    A timer checks every `client_seconds` whether the client has made progress. uvicorn's timer is for idle time only.
    It is set and cancelled with each request, which costs as much as parsing the request.

    Args:
        client_seconds: how long a client may take to send a request, or may take nothing of an answer. The connection
            is cut after one to two times this.
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
        if self._watch:
            self._watch.cancel()
            self._watch = None

    def pause_writing(self) -> None:
        """Called by the transport when the client takes its answer more slowly than it is written."""
        super().pause_writing()
        self._unsent.set(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent.set(0)

    def _look(self) -> None:
        """Cut the client if nothing has changed since the last look, or if it is idle for too long."""
        self._watch = self.loop.call_later(self._client_seconds, self._look)
        sent = send_progress(self.transport)
        # The cycle tells two answers apart on systems that do not tell how many bytes were taken.
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
        """Whether the service reads, and waits for the rest of a request."""
        return not self.flow.read_paused and self._is_unfinished()

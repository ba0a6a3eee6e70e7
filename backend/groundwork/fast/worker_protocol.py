"""The bounded connection of a gunicorn worker. It announces its end when its worker ends."""

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from groundwork.fast.connection import BoundedProtocol
from groundwork.http.streams import stop_event_streams

# How long an idle connection stays open when its worker ends.
_LINGER_SECONDS = 1.0
_CLOSE = (b"connection", b"close")


class WorkerProtocol(BoundedProtocol):
    """Announces the end of an idle connection before closing it.

    Args:
        ports: the ASGI applications of ports other than the service's own.
    """

    def __init__(self, *args: Any, ports: dict[int | None, Any], **options: Any) -> None:
        super().__init__(*args, **options)
        self._ports = ports
        self._goodbye: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_LingeringTransport(transport, self.linger))  # type: ignore[arg-type]
        if self._ports and self.server:
            self.app = self._ports.get(self.server[1], self.app)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._goodbye:
            self._goodbye.cancel()

    def shutdown(self) -> None:
        """End the connection after the current answer, because its worker ends.

        A client may be sending a request on an idle connection, and would lose it if the connection closed now. So an
        idle connection stays open for up to a second, and the next answer has `Connection: close` (RFC 9112, 9.6).
        Event streams would not end by themselves, so they are ended.
        """
        stop_event_streams()
        headers = self.server_state.default_headers
        if _CLOSE not in headers:
            self.server_state.default_headers = [*headers, _CLOSE]
        if self.cycle is None or self.cycle.response_complete:
            linger_seconds = min(_LINGER_SECONDS, (self.config.timeout_graceful_shutdown or 0) / 2)
            self._goodbye = self.loop.call_later(linger_seconds, super().shutdown)
        else:
            super().shutdown()


class _LingeringTransport:
    """A transport whose close() waits until the client has sent everything. Nothing is written after close()."""

    def __init__(self, transport: asyncio.Transport, linger: Callable[[], bool]) -> None:
        self._transport = transport
        # Weak, because a reference cycle with the protocol would keep both in memory for longer.
        self._linger = WeakMethod(linger)
        self._closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        # The client may be gone. uvicorn tells this only to the newest of several pipelined requests.
        if not self.is_closing():
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        linger = self._linger()
        if self.is_closing() or linger is None or not linger():
            self._transport.close()
        self._closing = True

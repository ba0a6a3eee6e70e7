"""Closes the pool's connections in the background."""

import asyncio
from collections.abc import Callable

from asyncpg import Connection

from groundwork.data.background import BackgroundTasks
from groundwork.data.failures import CONNECTION_ERRORS

_CLOSE_SECONDS = 5.0
# A close waits until the cancellation of a running statement has reached the server. If it takes longer than this, the
# server is probably gone and the session with it, so another connection may take its place.
_COUNTED_SECONDS = 1.0


class Closing:
    """Connections that are being closed.

    Args:
        tasks: runs the closes.
        closed: called whenever `count` has fallen.
    """

    def __init__(self, tasks: BackgroundTasks, closed: Callable[[], None]) -> None:
        self._tasks = tasks
        self._closed = closed
        self.count = 0
        """How many of these sessions the server may still count against its limit."""

    def begin(self, connection: Connection) -> None:
        """Close the connection. A statement that runs on it is cancelled."""
        self.count += 1
        self._tasks.start(self._close(connection))

    async def _close(self, connection: Connection) -> None:
        await asyncio.wait([self._tasks.start(_close(connection))], timeout=_COUNTED_SECONDS)
        self.count -= 1
        self._closed()


async def _close(connection: Connection) -> None:
    try:
        # asyncpg's close() first waits until a pending cancel request has reached the server.
        await connection.close(timeout=_CLOSE_SECONDS)
    except (*CONNECTION_ERRORS, asyncio.CancelledError):
        connection.terminate()

"""The pool's work in the background: closing connections, and checking idle ones before they are used again."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from asyncpg import Connection
from sqlalchemy import literal_column, select

from groundwork.data import failures
from groundwork.observe.metrics import LOST, counts

_CLOSE_SECONDS = 5.0
# A close waits until the cancellation of a running statement has reached the server. If it takes longer than this, the
# server is probably gone and the session with it, so another connection may take its place.
_COUNTED_SECONDS = 1.0
_CHECK_SECONDS = 1.0
_CHECK = str(select(literal_column("1")))


class BackgroundTasks:
    """Tasks that nobody awaits. asyncio itself keeps only weak references to tasks, so they are kept here."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` in a task of its own."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def wait(self) -> None:
        """Wait until no task is left. A task may start others in the meantime."""
        while self._tasks:
            await asyncio.wait(self._tasks)


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
    except (*failures.CONNECTION_ERRORS, asyncio.CancelledError):
        connection.terminate()


class Revalidation:
    """The checks that run now.

    Args:
        tasks: runs the checks.
        passed: called with each connection that answered.
        failed: called with each connection that is lost.
    """

    def __init__(
        self, tasks: BackgroundTasks, *, passed: Callable[[Connection], None], failed: Callable[[Connection], None]
    ) -> None:
        self._tasks = tasks
        self._passed, self._failed = passed, failed
        self.count = 0
        """How many checks run."""

    def begin(self, connection: Connection) -> None:
        """Check a connection."""
        self.count += 1
        self._tasks.start(self._check(connection))

    async def _check(self, connection: Connection) -> None:
        answers = await _answers(connection)
        self.count -= 1
        if answers:
            self._passed(connection)
        else:
            counts.database_error(LOST)
            self._failed(connection)


async def _answers(connection: Connection) -> bool:
    try:
        await connection.execute(_CHECK, timeout=_CHECK_SECONDS)
    except Exception as error:
        return failures.is_usable_after(error, connection)  # an error from the server is an answer too
    return True

"""The pool's work in the background: closing connections, and checking idle ones before they are used again."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from asyncpg import Connection
from sqlalchemy import literal_column, select

from groundwork.data import failures

_CLOSE_SECONDS = 5.0
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


async def close(connection: Connection) -> None:
    """Close a connection. A statement that runs on it is cancelled."""
    try:
        # asyncpg's close() first waits until a pending cancel request has reached the server.
        await connection.close(timeout=_CLOSE_SECONDS)
    except (*failures.CONNECTION_ERRORS, asyncio.CancelledError):
        connection.terminate()


async def answers(connection: Connection) -> bool:
    """Whether an idle connection can be used again."""
    try:
        await connection.execute(_CHECK, timeout=_CHECK_SECONDS)
    except Exception as error:
        return failures.is_usable_after(error, connection)  # an error from the server is an answer too
    return True

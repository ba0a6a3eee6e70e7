"""Opens connections for the pool. Pauses after failures protect a database that is starting."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from asyncpg import Connection, PostgresError

from groundwork.data.background import BackgroundTasks
from groundwork.observe.metrics import LOST, counts

Connect = Callable[[], Awaitable[Connection]]

# The pause after a failed attempt. It doubles with each further failure, up to the longest.
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.02, 0.25
# An attempt can hang although the database is back. After this time, another attempt may run beside it.
_HANGING_SECONDS = 0.5
# An attempt is given up after half of the time that a request may wait, but not before this time. So the next attempt
# still serves the request, even in a pool that has no room for two attempts.
_SHORTEST_ATTEMPT_SECONDS = 1.0
# How long an attempt may go on when the pool is closed. If asyncpg is cancelled while it asks for TLS, it leaves an
# error behind that asyncio logs.
_ENDING_SECONDS = 0.2


class Reconnection:
    """Makes attempts to connect, each in a task of its own.

    Args:
        connect: opens one connection.
        tasks: runs the attempts.
        wait_seconds: how long a request waits for a connection at most.
        opened: called with each connection that was opened.
        failed: called with the error of each attempt that failed.
        resumed: called when another attempt may begin: after a pause, or because one hangs.
    """

    def __init__(
        self,
        connect: Connect,
        tasks: BackgroundTasks,
        *,
        wait_seconds: float,
        opened: Callable[[Connection], None],
        failed: Callable[[Exception], None],
        resumed: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._tasks = tasks
        self._attempt_seconds = max(wait_seconds / 2, _SHORTEST_ATTEMPT_SECONDS)
        self._opened, self._failed, self._resumed = opened, failed, resumed
        self._pause_seconds = _SHORTEST_PAUSE_SECONDS
        self._pause: asyncio.TimerHandle | None = None
        """The pause after a failed attempt; None if another attempt may begin now."""
        self._closed = False
        self.attempts: set[asyncio.Task[Any]] = set()
        """All attempts that run, including those that hang."""
        self._hanging: set[asyncio.Task[Any]] = set()

    def open(self, wanted: int, room: int, *, is_away: bool) -> None:
        """Begin attempts for requests that wait, unless there is a pause.

        Args:
            wanted: how many connections are needed. Attempts that hang do not count towards it.
            room: how many attempts may run at most, including those that hang.
            is_away: no connection is open. Then there is one attempt at a time, so that a database that is starting is
                not flooded.
        """
        if self._closed or self._pause:
            return
        if is_away:
            wanted = min(wanted, 1)
        while len(self.attempts) < room and len(self.attempts) - len(self._hanging) < wanted:
            attempt = self._tasks.start(self._open_one())
            self.attempts.add(attempt)
            asyncio.get_running_loop().call_later(_HANGING_SECONDS, self._note_hanging, attempt)

    def close(self) -> None:
        """Begin no more attempts, and give up those that do not end soon."""
        self._closed = True
        self._end_pause()
        for attempt in self.attempts:
            asyncio.get_running_loop().call_later(_ENDING_SECONDS, attempt.cancel)

    async def _open_one(self) -> None:
        try:
            connection = await self._attempt()
        except Exception as error:
            counts.database_error(error.sqlstate[:2] if isinstance(error, PostgresError) else LOST)
            self._failed(error)
            if not self._closed:
                self._begin_pause()
        else:
            self._end_pause()
            self._pause_seconds = _SHORTEST_PAUSE_SECONDS
            self._opened(connection)

    async def _attempt(self) -> Connection:
        try:
            async with asyncio.timeout(self._attempt_seconds):
                return await self._connect()
        finally:
            if attempt := asyncio.current_task():
                self.attempts.discard(attempt)
                self._hanging.discard(attempt)

    def _begin_pause(self) -> None:
        """Begin a pause, or begin the running one again."""
        self._end_pause()
        self._pause = asyncio.get_running_loop().call_later(self._pause_seconds, self._resume)
        self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _end_pause(self) -> None:
        if self._pause:
            self._pause.cancel()
            self._pause = None

    def _resume(self) -> None:
        self._pause = None
        self._resumed()

    def _note_hanging(self, attempt: asyncio.Task[None]) -> None:
        if attempt in self.attempts:
            self._hanging.add(attempt)
            self._resumed()

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


class Backoff:
    """The pause after a failed attempt to connect.

    Args:
        ended: called when a pause is over.
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._seconds = _SHORTEST_PAUSE_SECONDS
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_paused(self) -> bool:
        """Whether the next attempt has to wait."""
        return self._timer is not None

    def pause(self) -> None:
        """Begin a pause, or begin the running one again."""
        self._cancel()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end)
        self._seconds = min(2 * self._seconds, _LONGEST_PAUSE_SECONDS)

    def reset(self) -> None:
        """End the pause without calling `ended`, and begin again with the shortest pause."""
        self._cancel()
        self._seconds = _SHORTEST_PAUSE_SECONDS

    def _cancel(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._timer = None
        self._ended()


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
        self._backoff = Backoff(resumed)
        self._closed = False
        self.attempts: set[asyncio.Task[Any]] = set()
        """All attempts that run, including those that hang."""
        self._hanging: set[asyncio.Task[Any]] = set()

    def open(self, wanted: int, room: int, *, is_away: bool) -> None:
        """Begin attempts for requests that wait, unless there is a pause.

        Args:
            wanted: how many connections are needed. Attempts that hang do not count towards it.
            room: how many attempts may run at most, those that hang included.
            is_away: no connection is open. Then there is one attempt at a time, so that a database that is starting is
                not flooded.
        """
        if is_away:
            wanted = min(wanted, 1)
        while len(self.attempts) < room and len(self.attempts) - len(self._hanging) < wanted and self._may_begin():
            self._begin()

    def _may_begin(self) -> bool:
        return not (self._closed or self._backoff.is_paused)

    def _begin(self) -> None:
        attempt = self._tasks.start(self._open_one())
        self.attempts.add(attempt)
        asyncio.get_running_loop().call_later(_HANGING_SECONDS, self._note_hanging, attempt)

    def close(self) -> None:
        """Begin no more attempts, and give up those that do not end soon."""
        self._closed = True
        self._backoff.reset()
        for attempt in self.attempts:
            asyncio.get_running_loop().call_later(_ENDING_SECONDS, attempt.cancel)

    async def _open_one(self) -> None:
        try:
            connection = await self._attempt()
        except Exception as error:
            counts.database_error(error.sqlstate[:2] if isinstance(error, PostgresError) else LOST)
            self._failed(error)
            if not self._closed:
                self._backoff.pause()
        else:
            self._backoff.reset()
            self._opened(connection)

    async def _attempt(self) -> Connection:
        try:
            async with asyncio.timeout(self._attempt_seconds):
                return await self._connect()
        finally:
            if attempt := asyncio.current_task():
                self.attempts.discard(attempt)
                self._hanging.discard(attempt)

    def _note_hanging(self, attempt: asyncio.Task[None]) -> None:
        if attempt in self.attempts:
            self._hanging.add(attempt)
            self._resumed()

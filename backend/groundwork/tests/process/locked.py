"""A lock that keeps statements waiting until the test releases it."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import asyncpg


class Locked:
    """Holds a lock that makes every statement on the tasks wait."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> "Locked":
        self._holder = self._connect()
        # This is another connection, because a transaction sees pg_stat_activity as it was at its first look.
        self._watcher = self._connect()
        self._run(self._holder.execute("BEGIN; LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE"))
        return self

    def waiting(self) -> int:
        """How many statements wait for the lock."""
        return self._run(self._watcher.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'relation'"))  # type: ignore[no-any-return]

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 20
        while self.waiting() < count:
            assert time.monotonic() < deadline, f"{self.waiting()} statements wait for the lock, not {count}"
            time.sleep(0.02)

    def __exit__(self, *exception: object) -> None:
        self._run(self._holder.close())
        self._run(self._watcher.close())
        self._loop.close()

    def _connect(self) -> Any:
        return self._run(asyncpg.connect(self._url))

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

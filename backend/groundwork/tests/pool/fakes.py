"""A server whose connections are fakes, and what tests do with a pool of them."""

import asyncio
from typing import Any, cast

import asyncpg

from groundwork.data.pool import Pool


class FakeConnection:
    closed = False
    checks = 0
    dead = False
    error: Exception | None = None
    closing: asyncio.Event | None = None
    """When set, `close` waits for this event."""
    default_transaction_read_only = "off"

    def __init__(self, in_hot_standby: str) -> None:
        self.in_hot_standby = in_hot_standby

    def get_settings(self) -> "FakeConnection":
        return self

    async def execute(self, statement: str, *, timeout: float) -> None:  # noqa: ASYNC109
        self.checks += 1
        if self.dead:
            raise TimeoutError
        if self.error:
            raise self.error

    def is_closed(self) -> bool:
        return self.closed

    async def close(self, *, timeout: float) -> None:  # noqa: ASYNC109
        await (self.closing.wait() if self.closing else asyncio.sleep(0))
        self.closed = True

    def terminate(self) -> None:
        self.closed = True


class FakeServer:
    """Opens fake connections. A closed `gate` delays the opening, and `error` makes it fail."""

    def __init__(self) -> None:
        self.attempts = 0
        self.opened: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.in_hot_standby = "off"

    async def connect(self) -> asyncpg.Connection:
        self.attempts += 1
        await self.gate.wait()
        if self.error:
            raise self.error
        self.opened.append(FakeConnection(self.in_hot_standby))
        return cast("asyncpg.Connection", self.opened[-1])

    def come_back(self) -> None:
        """Answer from now on. Attempts that wait at the old gate go on hanging."""
        self.gate = asyncio.Event()
        self.gate.set()

    def open_count(self) -> int:
        return sum(not connection.is_closed() for connection in self.opened)


def pool_of(server: FakeServer, *, size: int = 1, wait_seconds: float = 10, queue_seconds: float = 10) -> Pool:
    return Pool(server.connect, size=size, wait_seconds=wait_seconds, queue_seconds=queue_seconds)


async def settle() -> None:
    """Run everything that is ready to run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def waiting(pool: Pool) -> asyncio.Task[asyncpg.Connection]:
    """A request that waits for a connection."""
    task = asyncio.create_task(pool.acquire())
    await settle()
    assert not task.done()
    return task

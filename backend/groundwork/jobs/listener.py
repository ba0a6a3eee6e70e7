"""Wakes the worker when a job is added: by LISTEN, on a connection of its own that goes past any pooler."""

import asyncio
import logging

from asyncpg import Connection

from groundwork.data.address import AddressKind, address_kind
from groundwork.data.failures import CONNECTION_ERRORS
from groundwork.data.target import ConnectionTarget
from groundwork.errors import Unavailable
from groundwork.jobs.records import CHANNEL

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 10


class Listener:
    """Sets `wake` when a job is added. Without a connection, it sets it every `poll_seconds` instead.

    An idle connection with LISTEN does not keep a Neon compute awake. The compute closes it when it stops. To connect
    at once would start the compute again, so the next look is after `poll_seconds`.

    Args:
        target: leads to PostgreSQL itself.
        wake: what the worker waits for.
        poll_seconds: the longest time in which a new job is found without a notification.
    """

    def __init__(self, target: ConnectionTarget, wake: asyncio.Event, *, poll_seconds: float) -> None:
        self._target = target
        self._wake = wake
        self._poll_seconds = poll_seconds
        self._connection: Connection | None = None
        self._behind_pooler = False

    async def ensure(self) -> None:
        """Connect, unless there is a connection. The worker calls it before each look at the queue.

        Raises:
            Unavailable: the database is away.
        """
        if self._connection is None and not self._behind_pooler:
            try:
                await self._connect()
            except CONNECTION_ERRORS as error:
                raise Unavailable(f"the worker cannot connect: {error}") from error
        if self._behind_pooler:
            self._wake_later()

    async def _connect(self) -> None:
        connection = await self._target.connect(timeout_seconds=_CONNECT_SECONDS, statement_cache_size=0)
        if await address_kind(connection, is_pooled=self._target.transaction_pooled) is AddressKind.SERVER:
            connection.add_termination_listener(self._lost)
            await connection.add_listener(CHANNEL, lambda *_: self._wake.set())
            self._connection = connection
            return
        await connection.close()
        self._behind_pooler = True
        logger.warning(
            "a pooler is between the worker and the database, so nothing tells it of new jobs and it looks every %g s:"
            " set DATABASE_DIRECT_URL to the address without the pooler",
            self._poll_seconds,
        )

    async def close(self) -> None:
        """Close the connection."""
        if connection := self._connection:
            connection.remove_termination_listener(self._lost)
            await connection.close(timeout=_CONNECT_SECONDS)

    def _lost(self, connection: object) -> None:
        self._connection = None
        logger.info("the database closed the connection that tells of new jobs; the next look follows")
        self._wake_later()

    def _wake_later(self) -> None:
        asyncio.get_running_loop().call_later(self._poll_seconds, self._wake.set)

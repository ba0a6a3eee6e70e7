"""Opens asyncpg connections for a PostgreSQL URL as hosting providers print it."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from asyncpg import Connection

from groundwork.data.address import AddressKind, address_kind
from groundwork.data.prepared_statements import NamingConnection, TrackedConnection
from groundwork.data.target import ConnectionTarget

logger = logging.getLogger(__name__)

Inspect = Callable[[Connection], Awaitable[None]]


class Connector:
    """Opens the service's connections to one target. Each call opens one.

    A transaction pooler (PgBouncer, Neon's pooled host) may run each transaction on another server connection. Some
    poolers track prepared statements. Behind these, statements stay prepared, under texts that make wrong values
    impossible (`kept_texts`). Behind others, such as PgBouncer before 1.21, no statement may stay prepared. Some pooled
    addresses are recognised by their name or port. Each new connection is asked what it leads to, because that can
    change with a failover, a DNS record or the pooler's configuration.

    Args:
        target: where to connect.
        timeout_seconds: how long one call may take to connect, and how long BEGIN and COMMIT may take.
        when_direct: called once, with the first connection that leads to PostgreSQL itself.
    """

    def __init__(self, target: ConnectionTarget, *, timeout_seconds: float, when_direct: Inspect | None = None) -> None:
        self._target = target
        self._timeout_seconds = timeout_seconds
        self._when_direct = when_direct
        # What the last connection led to. Before the first one, it is a guess: most poolers track statements.
        self._kind = AddressKind.TRACKING_POOLER if target.transaction_pooled else AddressKind.SERVER

    async def __call__(self) -> Connection:
        # A connection is opened with the options that suited the last one. So usually no second connection is needed.
        for _ in range(2):
            kind = self._kind
            connection = await self._connect(kind)
            if await self._ask(connection) is kind:
                return connection
            await connection.close(timeout=self._timeout_seconds)
        # The address leads to one kind, then to another. It is always correct to keep no prepared statements.
        return await self._connect(AddressKind.TRANSACTION_POOLER)

    async def _ask(self, connection: Connection) -> AddressKind:
        try:
            kind = await address_kind(connection, is_pooled=self._target.transaction_pooled)
            if kind is AddressKind.SERVER and self._when_direct:
                await self._when_direct(connection)
                self._when_direct = None
        except BaseException:
            connection.terminate()
            raise
        if kind is not self._kind:
            self._kind = kind
            logger.info("DATABASE_URL leads to %s", _MEANING[kind])
        return kind

    async def _connect(self, kind: AddressKind) -> Connection:
        # `command_timeout` limits commands that have no timeout of their own: BEGIN, COMMIT and ROLLBACK.
        # asyncpg would drop each statement after five minutes. A request would then prepare and plan it again.
        return await self._target.connect(
            timeout_seconds=self._timeout_seconds,
            command_timeout=self._timeout_seconds,
            max_cached_statement_lifetime=0,
            **_OPTIONS[kind],
        )


_OPTIONS: dict[AddressKind, dict[str, Any]] = {
    AddressKind.SERVER: {"connection_class": NamingConnection},
    AddressKind.TRANSACTION_POOLER: {"statement_cache_size": 0},
    AddressKind.TRACKING_POOLER: {"connection_class": TrackedConnection},
}
_MEANING = {
    AddressKind.SERVER: "PostgreSQL itself: prepared statements are kept",
    AddressKind.TRANSACTION_POOLER: "a transaction pooler: prepared statements are not kept",
    AddressKind.TRACKING_POOLER: "a transaction pooler that tracks prepared statements: they are kept",
}


def connection_target(url: str) -> ConnectionTarget:
    """Read a URL as Neon, Supabase, Railway, Heroku and others print it, with the meaning that libpq gives it.

    `connect` of the target opens a connection.

    Raises:
        ValueError: the message says what is wrong. It never holds the URL, which holds a password.
    """
    return ConnectionTarget(url)

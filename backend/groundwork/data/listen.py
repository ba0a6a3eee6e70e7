"""A connection with PostgreSQL's LISTEN."""

from collections.abc import Callable

from asyncpg import Connection

from groundwork.data.address import AddressKind, address_kind
from groundwork.data.target import ConnectionTarget

Heard = Callable[[str], None]
Lost = Callable[[], None]


class BehindPooler(Exception):
    """The address leads to a transaction pooler, which loses LISTEN with the session."""


async def listen(target: ConnectionTarget, channel: str, heard: Heard, lost: Lost, *, seconds: float) -> Connection:
    """Open a connection that listens.

    Args:
        target: leads to PostgreSQL itself.
        heard: called with the payload of each notification.
        lost: called when the connection has ended.
        seconds: the time for connecting, and for each statement.

    Raises:
        BehindPooler: the target leads to a transaction pooler.
        OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: there is no connection.
    """
    connection = await target.connect(timeout_seconds=seconds, command_timeout=seconds, statement_cache_size=0)
    try:
        if await address_kind(connection, is_pooled=target.transaction_pooled) is not AddressKind.SERVER:
            raise BehindPooler  # noqa: TRY301 - the connection is closed below
        connection.add_termination_listener(lambda _: lost())
        await connection.add_listener(channel, lambda *arguments: heard(arguments[-1]))
    except BaseException:
        connection.terminate()
        raise
    return connection

"""What an address leads to: PostgreSQL itself, or a pooler."""

from enum import Enum, auto

import asyncpg
from sqlalchemy import ColumnClause, func, literal_column, select


class AddressKind(Enum):
    """What stands at the other end of a connection."""

    SERVER = auto()
    """PostgreSQL itself: a connection keeps its session, so statements can stay prepared."""

    TRANSACTION_POOLER = auto()
    """PgBouncer or its like: each transaction may run in another session, so no statement can stay prepared."""


async def address_kind(connection: asyncpg.Connection) -> AddressKind:
    """Find out in one round trip. PostgreSQL announces the process id of its session; a pooler announces a made-up one.

    Raises:
        OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: there was no answer.
    """
    announced: ColumnClause[int] = literal_column(str(connection.get_server_pid()))
    # The command tag tells the number of rows. `fetch` would prepare a statement, which can fail behind a pooler.
    tag = await connection.execute(str(select(announced).where(func.pg_backend_pid() == announced)))
    return AddressKind.SERVER if tag == "SELECT 1" else AddressKind.TRANSACTION_POOLER

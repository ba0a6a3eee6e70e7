"""Finds out what a new connection leads to: PostgreSQL itself, or a pooler, which may track prepared statements.

The same round trip tells PostgreSQL to plan each prepared statement once for all values. Otherwise it chooses by its
estimates, and plans most statements on partitioned tables each time they run. Behind a pooler a session's settings are
lost, so there the setting belongs to the role or the database.
"""

from enum import Enum, auto
from secrets import token_hex
from typing import Any, cast

import asyncpg
from sqlalchemy import ColumnClause, Text, case, column, exists, func, literal_column, select, table


class AddressKind(Enum):
    """What stands at the other end of a connection."""

    SERVER = auto()
    """PostgreSQL itself: a connection keeps its session, so statements can stay prepared."""

    TRANSACTION_POOLER = auto()
    """PgBouncer or its like: each transaction may run in another session, so no statement can stay prepared."""

    TRACKING_POOLER = auto()
    """A transaction pooler that prepares a client's statements in each session where they run. They can be kept."""


# The text is always the same, so that a pooler prepares it once for all connections.
_PREPARED = "SELECT 1 AS tracked"
# A mode other than PostgreSQL's default stays. It may be set for the role, for the database or in the URL.
_plan_mode: ColumnClause[str] = literal_column("'plan_cache_mode'")
_plan_once = case(
    (
        func.current_setting(_plan_mode) == literal_column("'auto'"),
        func.set_config(_plan_mode, literal_column("'force_generic_plan'"), literal_column("false")),
    )
)
_statements = table("pg_prepared_statements", column("name", Text), column("statement", Text))


async def address_kind(connection: asyncpg.Connection, *, is_pooled: bool = False) -> AddressKind:
    """Find out what a connection leads to, in one round trip if it is PostgreSQL itself, and in five if not.

    Args:
        is_pooled: the address is known to lead to a pooler.

    Raises:
        OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: there was no answer.
    """
    if not is_pooled and await _is_server(connection):
        return AddressKind.SERVER
    return AddressKind.TRACKING_POOLER if await _renames(connection) else AddressKind.TRANSACTION_POOLER


async def _is_server(connection: asyncpg.Connection) -> bool:
    """Whether the announced process id is that of the session. A pooler announces another; no setting changes then."""
    announced: ColumnClause[int] = literal_column(str(connection.get_server_pid()))
    # The command tag tells the number of rows. `fetch` would prepare a statement, which can fail behind a pooler.
    tag = await connection.execute(str(select(announced, _plan_once).where(func.pg_backend_pid() == announced)))
    return tag == "SELECT 1"


async def _renames(connection: asyncpg.Connection) -> bool:
    """Whether the session has a statement under another name than the one that it was prepared with here.

    A pooler that tracks statements has to give them names of its own, because several clients share a session.
    """
    name = f"tracked_{token_hex(8)}"
    as_named, as_text = literal_column(f"'{name}'", Text), literal_column(f"'{_PREPARED}'", Text)
    is_named = exists().where(_statements.c.name == as_named)
    renamed = select(_statements.c.name).where(_statements.c.statement == as_text, ~is_named)
    await connection.execute("BEGIN")  # one session until the end
    await connection.prepare(_PREPARED, name=name)
    # asyncpg would close the statement later, during a request, and perhaps in another session.
    cast("Any", connection)._stmts_to_close.clear()
    if await connection.execute(str(renamed)) != "SELECT 0":
        await connection.execute("ROLLBACK")
        return True
    await connection.execute(f"DEALLOCATE {name}; ROLLBACK")
    return False

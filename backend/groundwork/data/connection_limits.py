"""Whether the connections of all workers fit the server's limit."""

import asyncpg
from pydantic import BaseModel
from sqlalchemy import Integer, cast, column, func, select, table

from groundwork.data.known_tables import public
from groundwork.data.statement import Statement

RESERVE = 3
"""Connections that the service leaves to a migration, and to people who look what is wrong."""


class _Limits(BaseModel):
    server: int
    reserved: int
    role: int
    database: int


_role = public(table("pg_roles", column("rolname"), column("rolconnlimit")), reason="PostgreSQL's: its roles.")
_database = public(
    table("pg_database", column("datname"), column("datconnlimit")), reason="PostgreSQL's: its databases."
)
_LIMITS = Statement(
    select(
        cast(func.current_setting("max_connections"), Integer).label("server"),
        (
            cast(func.current_setting("superuser_reserved_connections"), Integer)
            # Since PostgreSQL 16.
            + func.coalesce(cast(func.current_setting("reserved_connections", True), Integer), 0)  # noqa: FBT003
        ).label("reserved"),
        _role.c.rolconnlimit.label("role"),
        _database.c.datconnlimit.label("database"),
    ).where(_role.c.rolname == func.current_user(), _database.c.datname == func.current_database()),
    returns=_Limits,
)


class ConnectionLimitError(Exception):
    """The connections do not fit; the message is a sentence on what to change."""


async def require_enough_connections(connection: asyncpg.Connection, *, workers: int, pool_size: int) -> str:
    """Ask a server that is connected to directly for its limits; returns a sentence on what they leave.

    Other replicas of the service count against the same limits, and cannot be seen from here.

    Raises:
        ConnectionLimitError: the workers' pools and the reserve are more than the server, the role or the database
            may have.
    """
    (limits,) = _LIMITS.rows(await connection.fetch(_LIMITS.sql, *_LIMITS.arguments({})))
    available = min([limits.server - limits.reserved, *(each for each in (limits.role, limits.database) if each >= 0)])
    need = f"WEB_CONCURRENCY x DATABASE_POOL_SIZE ({workers} x {pool_size}), and {RESERVE} in reserve, need"
    if workers * pool_size + RESERVE <= available:
        return f"{need} {workers * pool_size + RESERVE} of the database's {available} connections"
    fitting = (available - RESERVE) // workers
    advice = f"set it to {fitting} or less" if fitting > 0 else "lower WEB_CONCURRENCY"
    raise ConnectionLimitError(
        f"{need} {workers * pool_size + RESERVE} connections, but the database allows {available}: {advice},"
        " or connect through a transaction pooler."
    )

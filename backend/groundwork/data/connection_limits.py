"""Checks that the connections of all workers stay within the database's limits."""

import asyncpg
from pydantic import BaseModel
from sqlalchemy import Integer, cast, column, func, select, table

from groundwork.data.known_tables import public
from groundwork.data.statement import Statement

RESERVE = 3
"""Connections that the service leaves free, for a migration and for people who look for a fault."""


further: dict[str, int] = {}
"""How many connections each worker needs beside its pool, by purpose. A module that opens one adds it here."""


class _Limits(BaseModel):
    server: int
    reserved: int
    role: int
    database: int


_role = public(table("pg_roles", column("rolname"), column("rolconnlimit")), reason="PostgreSQL's list of roles.")
_database = public(
    table("pg_database", column("datname"), column("datconnlimit")), reason="PostgreSQL's list of databases."
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
    """The workers may open more connections than the database allows. The message says what to change."""


async def require_enough_connections(connection: asyncpg.Connection, *, workers: int, pool_size: int) -> str:
    """Compare the connections of this service with the limits of the server, of its role and of its database.

    Other replicas of the service count against the same limits. They cannot be seen from here.

    Args:
        connection: a connection to PostgreSQL itself and not to a pooler.
        workers: how many worker processes run. Each has a pool.
        pool_size: how many connections one pool may open.

    Returns:
        A sentence for the log that says how many connections are needed and how many are available.

    Raises:
        ConnectionLimitError: the pools and `RESERVE` together exceed the lowest of the limits.
        asyncpg.PostgresError: the limits cannot be read.
    """
    (limits,) = _LIMITS.rows(await connection.fetch(_LIMITS.sql, *_LIMITS.arguments({})))
    available = min([limits.server - limits.reserved, *(each for each in (limits.role, limits.database) if each >= 0)])
    others = "".join(f" {workers * number} {purpose}," for purpose, number in further.items())
    need = f"WEB_CONCURRENCY x DATABASE_POOL_SIZE ({workers} x {pool_size}),{others} and {RESERVE} in reserve, need"
    needed = workers * (pool_size + sum(further.values())) + RESERVE
    if needed <= available:
        return f"{need} {needed} of the database's {available} connections"
    fitting = (available - RESERVE) // workers - sum(further.values())
    advice = f"set DATABASE_POOL_SIZE to {fitting} or less" if fitting > 0 else "lower WEB_CONCURRENCY"
    raise ConnectionLimitError(
        f"{need} {needed} connections, but the database allows {available}: {advice},"
        " or connect through a transaction pooler."
    )

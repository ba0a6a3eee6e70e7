"""A connection that bypasses any pooler, for migrations and the daily clean-up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import pool
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from groundwork.data.connector import connection_target
from groundwork.data.failures import CONNECTION_ERRORS
from groundwork.serve.settings import Settings

_CONNECT_SECONDS = 30


class Unreachable(Exception):
    """The database cannot be reached. The message names the variable and the reason."""


@asynccontextmanager
async def maintenance_connection(settings: Settings) -> AsyncIterator[AsyncConnection]:
    """A plain SQLAlchemy connection. It does not check ownership, so it must never serve a request.

    Raises:
        Unreachable: no connection can be opened, or it was lost.
    """
    url = settings.database_direct_url or settings.database_url
    target = connection_target(url.get_secret_value())
    engine = create_async_engine(
        "postgresql+asyncpg://",
        # No caches: a cached prepared statement fails on a transaction pooler, and after its table has changed.
        async_creator=lambda: target.connect(timeout_seconds=_CONNECT_SECONDS, statement_cache_size=0),
        connect_args={"prepared_statement_cache_size": 0},
        poolclass=pool.NullPool,
    )
    try:
        async with engine.connect() as connection:
            yield connection
    except CONNECTION_ERRORS as error:
        name = "DATABASE_DIRECT_URL" if settings.database_direct_url else "DATABASE_URL"
        raise Unreachable(f"the database of {name} cannot be reached: {error}") from error

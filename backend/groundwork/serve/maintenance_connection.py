"""A connection that bypasses any pooler, for migrations and for commands such as the daily clean-up."""

import asyncio
import logging.config
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from sqlalchemy import pool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from groundwork.data.connector import connection_target
from groundwork.data.failures import CONNECTION_ERRORS
from groundwork.observe.logging import logging_config
from groundwork.serve.settings import Settings, load_settings

_CONNECT_SECONDS = 30


class Unreachable(Exception):
    """The database cannot be reached. The message names the variable and the reason."""


@asynccontextmanager
async def maintenance_connection(settings: Settings) -> AsyncIterator[AsyncConnection]:
    """A plain SQLAlchemy connection. It does not check ownership, so it must never serve a request.

    Raises:
        Unreachable: no connection can be opened, or it was lost.
    """
    name, url = settings.direct_url
    target = connection_target(url)
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
        raise Unreachable(f"the database of {name} cannot be reached: {error}; start it, or correct {name}") from error


def run_command(work: Callable[[AsyncConnection], Awaitable[None]], logger: logging.Logger, failure: str) -> int:
    """Run a command on such a connection; returns the exit status.

    Args:
        failure: what an error means for the data. The log line has it before the error of a statement that failed, and
            after the reason why the database cannot be reached.
    """
    return asyncio.run(_run(work, logger, failure))


async def _run(work: Callable[[AsyncConnection], Awaitable[None]], logger: logging.Logger, failure: str) -> int:
    settings = load_settings()
    logging.config.dictConfig(logging_config(settings.log_level, settings.log_format, settings.log_members))
    try:
        async with maintenance_connection(settings) as connection:
            await work(connection)
    except Unreachable as error:
        logger.error("%s; %s", error, failure)  # noqa: TRY400 - the database is away; the code is right
        return os.EX_UNAVAILABLE
    except DBAPIError as error:
        logger.error("%s: %s", failure, error.orig)  # noqa: TRY400
        return os.EX_SOFTWARE
    return os.EX_OK

"""The service's database, opened for a command of a developer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from groundwork.data.connector import Connector, connection_target
from groundwork.data.database import Database
from groundwork.serve.settings import load_settings


@asynccontextmanager
async def opened() -> AsyncIterator[Database]:
    """The database of DATABASE_URL, with the service's own limits of time."""
    settings = load_settings()
    target = connection_target(settings.database_url.get_secret_value())
    database = Database(
        Connector(target, timeout_seconds=settings.database_wait_seconds),
        pool_size=2,
        wait_seconds=settings.database_wait_seconds,
        queue_seconds=settings.database_wait_seconds,
        statement_seconds=settings.database_statement_seconds,
    )
    async with database:
        yield database

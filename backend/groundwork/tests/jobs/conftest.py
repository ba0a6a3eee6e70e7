import asyncpg
import pytest

from groundwork.tests.jobs.tables import create_tables


@pytest.fixture
async def queue(connection: asyncpg.Connection) -> asyncpg.Connection:
    """A connection to a database that has the tables of the jobs."""
    await create_tables(connection)
    return connection


@pytest.fixture(autouse=True)
def _one_partition() -> None:
    """Turn this check off. The queue belongs to all users together, so it is not partitioned by users."""

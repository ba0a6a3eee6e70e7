"""The jobs' table, which is in no database but in those of the tests that make it."""

import asyncpg
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from groundwork.data.tables import metadata
from groundwork.tests.jobs import example, statements  # noqa: F401 - while the table is known

_TABLE = metadata.tables["jobs"]
# The service of the other tests, in this same process, has no such table and must not look for it.
metadata.remove(_TABLE)


async def create_tables(connection: asyncpg.Connection) -> None:
    """Make the table of the jobs, and the one into which the example's jobs write."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    made: list[DDLElement] = [CreateTable(_TABLE), *map(CreateIndex, _TABLE.indexes)]
    for each in made:
        await connection.execute(str(each.compile(dialect=dialect)))
    await connection.execute(example.TABLE)

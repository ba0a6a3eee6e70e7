"""The jobs' table, which is in no database but in those of the tests that make it."""

from types import SimpleNamespace

import asyncpg
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from groundwork.data.tables import metadata
from groundwork.jobs.records import JobRecord
from groundwork.tests.jobs import example

_TABLE = metadata.tables["jobs"]
# The service of the other tests, in this same process, has no such table and must not look for it. The guard of the
# statements finds it where each model's metadata is.
metadata.remove(_TABLE)
JobRecord.metadata = SimpleNamespace(tables={"jobs": _TABLE})  # type: ignore[assignment]


async def create_tables(connection: asyncpg.Connection) -> None:
    """Make the table of the jobs, and the one into which the example's jobs write."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    made: list[DDLElement] = [CreateTable(_TABLE), *map(CreateIndex, _TABLE.indexes)]
    for each in made:
        await connection.execute(str(each.compile(dialect=dialect)))
    await connection.execute(example.TABLE)

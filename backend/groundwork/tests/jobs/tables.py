"""The table of the jobs. It is only in the databases of the tests that make it."""

from types import SimpleNamespace

import asyncpg
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from groundwork.data.tables import metadata
from groundwork.jobs.records import JobRecord
from groundwork.tests.jobs import example

_TABLE = metadata.tables["jobs"]
# The other tests in this process have a service without this table, which must not look for it. The guard of the
# statements still finds the table through its model.
metadata.remove(_TABLE)
JobRecord.metadata = SimpleNamespace(tables={"jobs": _TABLE})  # type: ignore[assignment]


async def create_tables(connection: asyncpg.Connection) -> None:
    """Make the table of the jobs, and the table in which the example's jobs write."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    made: list[DDLElement] = [CreateTable(_TABLE), *map(CreateIndex, _TABLE.indexes)]
    for each in made:
        await connection.execute(str(each.compile(dialect=dialect)))
    await connection.execute(example.TABLE)

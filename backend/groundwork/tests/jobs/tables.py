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


def table_of_jobs() -> list[str]:
    """The statements that make the table of the jobs."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    made: list[DDLElement] = [CreateTable(_TABLE), *map(CreateIndex, _TABLE.indexes)]
    return [str(each.compile(dialect=dialect)) for each in made]


async def create_tables(connection: asyncpg.Connection) -> None:
    """Make the table of the jobs, and the table in which the example's jobs write."""
    for statement in [*table_of_jobs(), example.TABLE]:
        await connection.execute(statement)

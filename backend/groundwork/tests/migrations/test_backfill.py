"""A backfill writes every row once, in small transactions. After a stop, the next run writes the rest."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import func
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from app.models.task import Task
from groundwork import ids
from groundwork.serve.backfill import Backfill, run
from groundwork.serve.maintenance_connection import maintenance_connection
from groundwork.serve.settings import Settings
from groundwork.tests.migrations.projects import Project

ROWS = 100
BATCH = 7
FILL = Backfill(
    Task, {"description": func.upper(Task.title)}, col(Task.description).is_(None), batch=BATCH, pause_seconds=0
)
FILE = """
from sqlmodel import col

from app.models.task import Task
from groundwork.serve.backfill import Backfill

BACKFILL = Backfill(Task, {"description": "none"}, where=col(Task.description).is_(None))
"""


@pytest.fixture
async def maintenance(settings: Settings) -> AsyncIterator[AsyncConnection]:
    async with maintenance_connection(settings) as connection:
        yield connection


@pytest.fixture(autouse=True)
async def rows(connection: asyncpg.Connection) -> None:
    records = [(f"user {number % 9}", ids.uuid7(), "title") for number in range(ROWS)]
    await connection.copy_records_to_table("tasks", records=records, columns=["user_id", "id", "title"])
    await connection.execute("UPDATE tasks SET description = 'kept' WHERE user_id = 'user 3'")


async def lacking(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("SELECT count(*) FROM tasks WHERE description IS DISTINCT FROM 'TITLE'"))


async def test_every_row_that_lacks_the_value_gets_it_once(
    maintenance: AsyncConnection, connection: asyncpg.Connection
) -> None:
    kept = await connection.fetchval("SELECT count(*) FROM tasks WHERE description = 'kept'")
    assert await run(maintenance, FILL) == ROWS - kept
    assert await lacking(connection) == kept
    assert await run(maintenance, FILL) == 0


async def test_each_batch_is_a_transaction_of_few_rows(
    maintenance: AsyncConnection, connection: asyncpg.Connection
) -> None:
    await run(maintenance, FILL)
    # Every row has the number of the transaction that wrote it.
    sizes = await connection.fetch("SELECT count(*) FROM tasks WHERE description = 'TITLE' GROUP BY xmin::text")
    assert len(sizes) >= (ROWS - 20) // BATCH
    assert max(row[0] for row in sizes) <= BATCH


async def test_what_was_written_before_an_end_is_kept_and_the_next_run_writes_the_rest(
    maintenance: AsyncConnection, connection: asyncpg.Connection
) -> None:
    await connection.execute("""
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF OLD.user_id = 'user 5' THEN RAISE 'no'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER fail BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION fail()
    """)
    before = await lacking(connection)
    with pytest.raises(DBAPIError):
        await run(maintenance, FILL)
    between = await lacking(connection)
    assert 0 < between < before
    await connection.execute("DROP TRIGGER fail ON tasks")
    kept = await connection.fetchval("SELECT count(*) FROM tasks WHERE description = 'kept'")
    assert await run(maintenance, FILL) == between - kept
    assert await lacking(connection) == kept


async def test_it_does_not_wait_for_a_row_for_long(
    maintenance: AsyncConnection, connection: asyncpg.Connection
) -> None:
    async with connection.transaction():
        await connection.execute("SELECT FROM tasks WHERE user_id = 'user 4' FOR UPDATE")
        with pytest.raises(DBAPIError, match="lock timeout"):
            await run(maintenance, FILL)
    await run(maintenance, FILL)
    assert await maintenance.scalar(func.current_setting("lock_timeout").select()) == "0"


def test_the_command_runs_a_file_and_says_what_it_did(tmp_path: Path, database_url: str) -> None:
    project = Project(tmp_path)
    folder = project.folder / "migrations" / "backfills"
    folder.mkdir()
    (folder / "describe.py").write_text(FILE)
    said = project.succeed(database_url, "groundwork.serve.backfill", "describe")
    assert '"message": "the backfill is done"' in said
    missing = project.run(database_url, "groundwork.serve.backfill", "nothing")
    assert (missing.returncode, missing.stderr.count("\n")) == (os.EX_USAGE, 1)
    assert "There is no migrations/backfills/nothing.py." in missing.stderr
    away = project.run("postgresql://127.0.0.1:1/none", "groundwork.serve.backfill", "describe")
    assert away.returncode == os.EX_UNAVAILABLE
    assert "run it again" in away.stderr
    assert "Traceback" not in away.stderr
    (folder / "unnamed.py").write_text(FILE.replace("BACKFILL = ", "FILL = "))
    unnamed = project.run(database_url, "groundwork.serve.backfill", "unnamed")
    assert unnamed.returncode == os.EX_CONFIG
    assert unnamed.stderr.startswith("migrations/backfills/unnamed.py has no BACKFILL: write BACKFILL = Backfill(")
    assert "Traceback" not in unnamed.stderr

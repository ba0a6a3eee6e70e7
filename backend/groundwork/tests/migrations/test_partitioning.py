"""docs/partitioning.md partitions the table of tasks while the service writes to it. The tests run its SQL as it is."""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from app.schemas.task import TaskCreate, TaskRead
from app.services import tasks
from groundwork import ids
from groundwork.data.database import Database
from groundwork.testing import postgres
from groundwork.tests import BACKEND
from groundwork.tests.core import database_at

DOCUMENT = BACKEND / "groundwork" / "docs" / "partitioning.md"
WRITERS = 8
ROWS = 20_000


def documented_steps() -> list[str]:
    return re.findall(r"^```sql\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database that bypasses any pooler. Its connections keep prepared statements while the tables change."""
    async with database_at(database_url, pool_size=4) as database:
        yield database


class Writer:
    """A user who creates, toggles and deletes tasks, and remembers what must be there."""

    def __init__(self, database: Database, number: int) -> None:
        self.database = database
        self.name = f"writer {number}"
        self.expected: dict[UUID, TaskRead] = {}
        self.written = 0
        self._random = random.Random(number)

    async def write(self) -> None:
        if len(self.expected) < 20 or self._random.random() < 0.3:
            created = await tasks.create_task(self.database, self.name, TaskCreate(title="new"))
            self.expected[created.id] = created
            return
        id = self._random.choice(list(self.expected))
        if self._random.random() < 0.4:
            await tasks.delete_task(self.database, self.name, id)
            del self.expected[id]
        else:
            self.expected[id] = await tasks.toggle_task(self.database, self.name, id)

    async def write_until(self, done: asyncio.Event) -> None:
        while not done.is_set():
            await self.write()
            self.written += 1

    async def read(self) -> dict[UUID, TaskRead]:
        return {task.id: task for task in await tasks.list_tasks(self.database, self.name, limit=1000)}


async def test_the_documented_steps_lose_nothing_and_refuse_nobody(
    database: Database, connection: asyncpg.Connection, database_url: str, request: pytest.FixtureRequest
) -> None:
    if request.config.option.partitioned:
        pytest.skip("the table is partitioned already")
    rows = [(f"user {number % 100}", ids.uuid7(), "title") for number in range(ROWS)]
    await connection.copy_records_to_table("tasks", records=rows, columns=["user_id", "id", "title"])
    writers = [Writer(database, number) for number in range(WRITERS)]
    for writer in writers:
        for _ in range(30):
            await writer.write()

    done = asyncio.Event()
    written = [0]
    async with asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(writer.write_until(done))
        for step in documented_steps():
            await connection.execute(step)
            await asyncio.sleep(0.1)
            written.append(sum(writer.written for writer in writers))
        done.set()

    assert sorted(set(written)) == written, "they wrote all the time"
    for writer in writers:
        assert await writer.read() == writer.expected
    assert await connection.fetchval("SELECT count(*) FROM tasks WHERE user_id LIKE 'user %'") == ROWS
    assert await connection.fetchval("SELECT relkind FROM pg_class WHERE oid = 'tasks'::regclass") == b"p"
    # Alembic must ignore the partitions. Otherwise `make migration` would propose to drop them.
    assert "No new upgrade operations detected" in await asyncio.to_thread(
        postgres.alembic, BACKEND, database_url, "check"
    )

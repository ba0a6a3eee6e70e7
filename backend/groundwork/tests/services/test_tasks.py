"""What the service's functions do to the database, without HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.schemas.task import TaskCreate, TaskRead, TaskUpdate
from app.services import tasks
from groundwork import ids
from groundwork.data.database import Database
from groundwork.errors import NotFound
from groundwork.testing.statements import Sent
from groundwork.tests.core import BOTH_WAYS, database_at
from groundwork.tests.partitions import nodes

ALICE, BOB = "alice", "bob"


@pytest.fixture(params=BOTH_WAYS)
async def database(request: pytest.FixtureRequest, service_url: str) -> AsyncIterator[Database]:
    async with database_at(service_url, pool_size=10, kind=request.param) as database:
        yield database


@pytest.fixture
async def task(database: Database) -> TaskRead:
    """A task of Alice."""
    return await tasks.create_task(database, ALICE, TaskCreate(title="Buy milk", description="Two litres"))


async def create(database: Database, titles: str, user_id: str = ALICE, **values: Any) -> list[TaskRead]:
    return [await tasks.create_task(database, user_id, TaskCreate(title=title, **values)) for title in titles]


def titles(found: list[TaskRead]) -> str:
    return "".join(task.title for task in found)


async def stored(connection: asyncpg.Connection, task: TaskRead) -> dict[str, Any]:
    row = await connection.fetchrow("SELECT * FROM tasks WHERE user_id = $1 AND id = $2", task.user_id, task.id)
    return dict(row or ())


async def test_a_created_task_is_stored_and_read_as_it_was_returned(
    database: Database, connection: asyncpg.Connection
) -> None:
    created = await tasks.create_task(
        database, ALICE, TaskCreate(title="Größe 👋", description="line\nline", completed=True)
    )
    assert created.model_dump(exclude={"id", "created_at", "updated_at"}) == {
        "user_id": ALICE,
        "title": "Größe 👋",
        "description": "line\nline",
        "completed": True,
    }
    assert created.created_at == created.updated_at == ids.created_at(created.id)
    assert await tasks.get_task(database, ALICE, created.id) == created
    assert await tasks.list_tasks(database, ALICE, limit=10) == [created]
    assert await stored(connection, created) == created.model_dump()


async def test_what_is_left_out_has_its_default(database: Database) -> None:
    created = await tasks.create_task(database, ALICE, TaskCreate(title="a"))
    assert (created.description, created.completed) == (None, False)


async def test_a_list_is_newest_first(database: Database) -> None:
    await create(database, "abc")
    assert titles(await tasks.list_tasks(database, ALICE, limit=10)) == "cba"


async def test_a_list_ends_at_its_limit(database: Database) -> None:
    await create(database, "abc")
    assert titles(await tasks.list_tasks(database, ALICE, limit=2)) == "cb"


async def test_pages_follow_each_other_without_gap_or_overlap(database: Database) -> None:
    await create(database, "abcdefg")
    read, before = "", None
    while page := await tasks.list_tasks(database, ALICE, limit=3, before=before):
        read, before = read + titles(page), page[-1].id
    assert read == "gfedcba"


async def test_a_page_starts_where_a_deleted_task_was(database: Database) -> None:
    _, second, *_ = await create(database, "abcd")
    await tasks.delete_task(database, ALICE, second.id)
    assert titles(await tasks.list_tasks(database, ALICE, limit=10, before=second.id)) == "a"


@pytest.mark.parametrize(("completed", "expected"), [(None, "dcba"), (True, "db"), (False, "ca")])
async def test_a_list_can_hold_only_what_is_done_or_not(
    database: Database, completed: bool | None, expected: str
) -> None:
    for title in "abcd":
        await create(database, title, completed=title in "bd")
    assert titles(await tasks.list_tasks(database, ALICE, limit=10, completed=completed)) == expected


async def test_the_filter_applies_before_the_limit(database: Database) -> None:
    await create(database, "a", completed=True)
    await create(database, "bcd")
    assert titles(await tasks.list_tasks(database, ALICE, limit=1, completed=True)) == "a"


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ({"title": "Buy oat milk"}, {"title": "Buy oat milk"}),
        ({"description": None}, {"description": None}),
        ({"description": ""}, {"description": ""}),
        ({"completed": True}, {"completed": True}),
        ({"title": "a", "completed": True}, {"title": "a", "completed": True}),
        (
            {"title": "a", "description": "b", "completed": True},
            {"title": "a", "description": "b", "completed": True},
        ),
        ({"title": "Buy milk"}, {}),
    ],
)
async def test_an_update_changes_only_what_was_given(
    database: Database, task: TaskRead, body: dict[str, Any], changed: dict[str, Any]
) -> None:
    updated = await tasks.update_task(database, ALICE, task.id, TaskUpdate.model_validate(body))
    assert updated == task.model_copy(update={**changed, "updated_at": updated.updated_at})
    assert updated.updated_at > task.updated_at
    assert await tasks.get_task(database, ALICE, task.id) == updated


async def test_an_empty_update_changes_nothing(database: Database, task: TaskRead) -> None:
    assert await tasks.update_task(database, ALICE, task.id, TaskUpdate()) == task
    assert await tasks.get_task(database, ALICE, task.id) == task


async def test_a_toggle_flips_and_flips_back(database: Database, task: TaskRead) -> None:
    once = await tasks.toggle_task(database, ALICE, task.id)
    assert once == task.model_copy(update={"completed": True, "updated_at": once.updated_at})
    twice = await tasks.toggle_task(database, ALICE, task.id)
    assert twice == task.model_copy(update={"updated_at": twice.updated_at})
    assert task.updated_at < once.updated_at < twice.updated_at


@pytest.mark.parametrize("count", [50, 51])
async def test_toggles_at_once_are_all_counted(database: Database, task: TaskRead, count: int) -> None:
    toggled = await asyncio.gather(*(tasks.toggle_task(database, ALICE, task.id) for _ in range(count)))
    assert sum(one.completed for one in toggled) == (count + 1) // 2
    last = await tasks.get_task(database, ALICE, task.id)
    assert last.completed is (count % 2 == 1)
    assert len({one.updated_at for one in toggled}) == count, "each moved it forward"
    assert last.updated_at == max(one.updated_at for one in toggled)


async def test_updates_at_once_of_different_fields_are_all_kept(database: Database, task: TaskRead) -> None:
    await asyncio.gather(
        tasks.update_task(database, ALICE, task.id, TaskUpdate(title="new")),
        tasks.update_task(database, ALICE, task.id, TaskUpdate(description="new")),
        tasks.toggle_task(database, ALICE, task.id),
    )
    updated = await tasks.get_task(database, ALICE, task.id)
    assert (updated.title, updated.description, updated.completed) == ("new", "new", True)


async def test_the_time_of_change_moves_forward_even_from_the_future(
    database: Database, connection: asyncpg.Connection, task: TaskRead
) -> None:
    future = task.updated_at + timedelta(days=1)
    await connection.execute("UPDATE tasks SET updated_at = $1", future)
    toggled = await tasks.toggle_task(database, ALICE, task.id)
    assert toggled.updated_at == future + timedelta(microseconds=1)
    updated = await tasks.update_task(database, ALICE, task.id, TaskUpdate(title="new"))
    assert updated.updated_at == future + timedelta(microseconds=2)


async def test_a_deleted_task_is_gone(database: Database, connection: asyncpg.Connection, task: TaskRead) -> None:
    (kept,) = await create(database, "k")
    await tasks.delete_task(database, ALICE, task.id)
    assert [row["id"] for row in await connection.fetch("SELECT id FROM tasks")] == [kept.id]


Operation = Callable[[Database, str, UUID], Awaitable[Any]]
ON_ONE: dict[str, Operation] = {
    "get": tasks.get_task,
    "update": lambda database, user_id, id: tasks.update_task(database, user_id, id, TaskUpdate(title="new")),
    "update of nothing": lambda database, user_id, id: tasks.update_task(database, user_id, id, TaskUpdate()),
    "toggle": tasks.toggle_task,
    "delete": tasks.delete_task,
}
EVERY: dict[str, Operation] = {
    **ON_ONE,
    "list": lambda database, user_id, id: tasks.list_tasks(database, user_id, limit=10),
    "page": lambda database, user_id, id: tasks.list_tasks(database, user_id, limit=10, before=id, completed=True),
    "create": lambda database, user_id, id: tasks.create_task(database, user_id, TaskCreate(title="new")),
}
on_one = pytest.mark.parametrize("operation", ON_ONE.values(), ids=ON_ONE.keys())


@on_one
async def test_anothers_task_is_not_found_and_stays_as_it_is(
    database: Database, connection: asyncpg.Connection, task: TaskRead, operation: Operation
) -> None:
    with pytest.raises(NotFound) as anothers:
        await operation(database, BOB, task.id)
    with pytest.raises(NotFound) as nobodys:
        await operation(database, BOB, ids.uuid7())
    assert anothers.value.detail == nobodys.value.detail
    assert await stored(connection, task) == task.model_dump()


@on_one
async def test_of_two_tasks_with_one_id_each_user_reaches_their_own(
    database: Database, connection: asyncpg.Connection, task: TaskRead, operation: Operation
) -> None:
    await connection.execute("INSERT INTO tasks (user_id, id, title) VALUES ($1, $2, 'of Bob')", BOB, task.id)
    await operation(database, BOB, task.id)
    assert await stored(connection, task) == task.model_dump()


async def test_lists_hold_nothing_of_anothers(database: Database, task: TaskRead) -> None:
    await create(database, "b", BOB)
    assert titles(await tasks.list_tasks(database, BOB, limit=10)) == "b"
    assert await tasks.list_tasks(database, "Alice", limit=10) == []


@pytest.mark.parametrize("database", [Database], indirect=True, ids=["alone"])
@pytest.mark.parametrize("operation", EVERY.values(), ids=EVERY.keys())
async def test_an_operation_is_one_statement(
    database: Database, task: TaskRead, sent_statements: list[Sent], operation: Operation
) -> None:
    await asyncio.sleep(0)  # asyncpg notes a statement in the loop's next turn
    sent_statements.clear()
    await operation(database, ALICE, task.id)
    await asyncio.sleep(0)
    (sent,) = sent_statements
    assert sent.owners() == {ALICE}


@pytest.fixture
async def many_rows(connection: asyncpg.Connection) -> UUID:
    """Insert so many tasks of many users that PostgreSQL uses the index. Returns the id of a task of Alice."""
    rows = [(f"user {number % 10}", ids.uuid7(), "title", number % 3 == 0) for number in range(10_000)]
    rows += [(ALICE, ids.uuid7(), "title", number % 3 == 0) for number in range(1_000)]
    await connection.copy_records_to_table("tasks", records=rows, columns=["user_id", "id", "title", "completed"])
    await connection.execute("ANALYZE tasks")
    return rows[-500][1]


async def plan_of(connection: asyncpg.Connection, sent: Sent, options: str = "") -> list[dict[str, Any]]:
    """The nodes of PostgreSQL's plan."""
    explained = await connection.fetchval(f"EXPLAIN (FORMAT JSON{options}) {sent.sql}", *sent.arguments)
    return nodes(json.loads(explained)[0]["Plan"])


READING = {name: EVERY[name] for name in ("get", "update", "toggle", "delete", "list", "page")}


@pytest.mark.parametrize("database", [Database], indirect=True, ids=["alone"])
# PostgreSQL may plan a statement for its values, or once for all values when it is kept.
@pytest.mark.parametrize("options", ["", ", GENERIC_PLAN"], ids=["these values", "any values"])
@pytest.mark.parametrize("operation", READING.values(), ids=READING.keys())
async def test_an_operation_finds_its_rows_by_the_primary_key(
    database: Database,
    connection: asyncpg.Connection,
    many_rows: UUID,
    sent_statements: list[Sent],
    operation: Operation,
    options: str,
) -> None:
    await operation(database, ALICE, many_rows)
    await asyncio.sleep(0)
    plan = await plan_of(connection, sent_statements[-1], options)
    (scan,) = (node for node in plan if "Scan" in node["Node Type"])
    assert scan["Node Type"] == "Index Scan"
    assert scan["Index Name"].endswith("_pkey")  # tasks_pkey, or its part of a partition
    assert "user_id" in scan["Index Cond"]
    assert {node["Node Type"] for node in plan} <= {"Index Scan", "Limit", "ModifyTable"}

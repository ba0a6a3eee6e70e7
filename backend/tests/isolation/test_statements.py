"""What is really sent to PostgreSQL: one statement for each operation, for the rows of the path's user only."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.http import MISSING_ID, create, statements_reported
from tests.statements import Sent, require_owner_in_each

# Not a value that any statement could hold by accident.
USER = "the owner / é '$1"
TASKS = "/api/the%20owner%20%2F%20%C3%A9%20%27%241/tasks"

REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "", {}),
    ("GET", "?completed=true&limit=5&cursor=AQGZAAAAAHAAgAAAAAAAAAA", {}),
    ("POST", "", {"json": {"title": "Buy milk", "user_id": "mallory"}}),
    ("GET", "/{id}", {}),
    ("PUT", "/{id}", {"json": {}}),
    ("PUT", "/{id}", {"json": {"title": "New", "user_id": "mallory"}}),
    ("PUT", "/{id}", {"json": {"title": "New", "description": None, "completed": True}}),
    ("PATCH", "/{id}/complete", {}),
    ("DELETE", "/{id}", {}),
]


@pytest.fixture
async def task(client: httpx.AsyncClient, sent_statements: list[Sent]) -> Any:
    """A task of the user; it has also made the service open its connection, which sends a statement of its own."""
    task = await create(client, TASKS)
    await statements_reported()
    sent_statements.clear()
    return task


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize(("method", "suffix", "options"), REQUESTS)
async def test_an_operation_is_one_statement_for_the_owner(
    client: httpx.AsyncClient,
    sent_statements: list[Sent],
    task: Any,
    method: str,
    suffix: str,
    options: dict[str, Any],
    exists: bool,
) -> None:
    id = task["id"] if exists else MISSING_ID
    response = await client.request(method, TASKS + suffix.format(id=id), **options)
    assert response.status_code in ((200, 201) if exists or "{id}" not in suffix else (404,))
    await statements_reported()
    [statement] = sent_statements
    assert statement.owners() == {USER}
    assert "mallory" not in statement.arguments


async def test_a_foreign_task_and_a_missing_one_take_the_same_way(
    client: httpx.AsyncClient, sent_statements: list[Sent], task: Any
) -> None:
    """The same statement, so that not even the time that it takes can tell them apart."""
    for id in (task["id"], MISSING_ID):
        assert (await client.get(f"/api/mallory/tasks/{id}")).status_code == 404
    await statements_reported()
    foreign, missing = sent_statements
    assert foreign.sql == missing.sql
    assert foreign.owners() == missing.owners() == {"mallory"}


@pytest.mark.parametrize("path", ["/nowhere", "/health/live", "/docs", "/openapi.json", f"{TASKS}/no-uuid"])
async def test_what_needs_no_data_asks_for_none(
    client: httpx.AsyncClient, sent_statements: list[Sent], path: str
) -> None:
    await client.get(path)
    await statements_reported()
    assert sent_statements == []


class TestTheCheckItself:
    """`sent_statements` looks at every statement of every test; here it must find what is wrong."""

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT * FROM tasks",
            "SELECT tasks.title FROM tasks WHERE tasks.id = $1",
            "SELECT count(*) FROM tasks",
            "UPDATE tasks SET title = $1 WHERE tasks.id = $2",
            "UPDATE tasks SET user_id = $1 WHERE tasks.id = $2",
            "DELETE FROM tasks WHERE tasks.id = $1",
            "INSERT INTO tasks (id, title) VALUES ($1, $2)",
            "SELECT 1 FROM tasks WHERE tasks.user_id = $1 OR tasks.user_id = $2",
            "WITH mine AS (SELECT 1 FROM tasks) SELECT * FROM mine",
        ],
    )
    def test_refuses_a_statement_without_exactly_one_owner(self, sql: str) -> None:
        with pytest.raises(AssertionError, match="no owner, or more than one"):
            require_owner_in_each([Sent(sql, ("alice", "bob"))])

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT tasks.title FROM tasks WHERE tasks.user_id = $1 AND tasks.id = $2",
            "DELETE FROM tasks WHERE tasks.user_id = $1",
            "INSERT INTO tasks (user_id, id) VALUES ($1, $2)",
            "SELECT version_num FROM alembic_version",
        ],
    )
    def test_accepts_one_with_an_owner_or_without_owned_rows(self, sql: str) -> None:
        require_owner_in_each([Sent(sql, ("alice", "bob"))])

    @pytest.fixture
    async def connection_of_the_service(self, app: FastAPI) -> AsyncIterator[asyncpg.Connection]:
        async with app.state.database.transaction() as transaction:
            yield transaction._connection

    async def test_sees_what_the_service_really_sends(
        self, connection_of_the_service: asyncpg.Connection, sent_statements: list[Sent]
    ) -> None:
        await connection_of_the_service.fetch("SELECT * FROM tasks WHERE tasks.id = $1", MISSING_ID)
        await statements_reported()
        assert sent_statements[-1] == Sent("SELECT * FROM tasks WHERE tasks.id = $1", (MISSING_ID,))
        with pytest.raises(AssertionError, match="no owner, or more than one"):
            require_owner_in_each(sent_statements)
        sent_statements.clear()

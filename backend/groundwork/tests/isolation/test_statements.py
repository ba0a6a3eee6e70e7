"""The check of the statements that are sent to PostgreSQL. The contract tests what each operation sends."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from groundwork.data.database import Transaction
from groundwork.serve.application import Application
from groundwork.testing.statements import Sent, require_owner_in_each
from groundwork.tests.http import MISSING_ID, statements_reported


@pytest.mark.parametrize("path", ["/nowhere", "/health/live", "/docs", "/openapi.json", "/api/alice/tasks/no-uuid"])
async def test_what_needs_no_data_asks_for_none(
    client: httpx.AsyncClient, sent_statements: list[Sent], path: str
) -> None:
    await client.get(path)
    await statements_reported()
    assert sent_statements == []


class TestTheCheckItself:
    """`sent_statements` checks every statement of every test. Here it must find wrong ones."""

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
            "INSERT INTO tasks (id, title) SELECT $1, $2 FROM claimed",
            "INSERT INTO tasks (user_id, id) SELECT id, id FROM others WHERE tasks.user_id = $1",
            "WITH a AS (INSERT INTO tasks (user_id, id) SELECT $1, $2) SELECT 1 FROM tasks WHERE tasks.user_id = $2",
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
            "INSERT INTO tasks (user_id, id) SELECT $1::VARCHAR AS a, $2 FROM claimed",
            "SELECT version_num FROM alembic_version",
        ],
    )
    def test_accepts_one_with_an_owner_or_without_owned_rows(self, sql: str) -> None:
        require_owner_in_each([Sent(sql, ("alice", "bob"))])

    @pytest.fixture
    async def connection_of_the_service(self, app: Application) -> AsyncIterator[asyncpg.Connection]:
        async with app.database.transaction() as transaction:
            assert isinstance(transaction, Transaction)
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

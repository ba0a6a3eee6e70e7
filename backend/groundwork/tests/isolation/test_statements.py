"""What is really sent to PostgreSQL: one statement for each operation, for the rows of the path's user only."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from groundwork.data.database import _Transaction
from groundwork.serve.application import Application
from groundwork.testing.statements import Sent, require_owner_in_each
from groundwork.tests.http import MISSING_ID, statements_reported
from groundwork.tests.resources import RESOURCES, Case, Resource, each_resource

# Not a value that any statement could hold by accident.
USER = "the owner / é '$1"


def _requests(resource: Resource) -> list[tuple[Resource, str, Case]]:
    """By a name: what is sent, given the path of one."""

    def on_all(method: str, query: str = "", **options: Any) -> Case:
        return lambda client, one: client.request(method, one.rpartition("/")[0] + query, **options)

    def on_one(method: str, **options: Any) -> Case:
        return lambda client, one: client.request(method, one, **options)

    claim = {resource.text: "New", "user_id": "mallory"}
    everything = {resource.text: "New", **resource.optional}
    requests = {
        "list": on_all("GET"),
        "list a page": on_all("GET", f"?{resource.filter}=true&limit=5&cursor=AQGZAAAAAHAAgAAAAAAAAAA"),
        "create": on_all("POST", json=claim),
        **resource.on_one(**claim),
        "update nothing": on_one("PUT", json={}),
        "update everything": on_one("PUT", json=everything),
    }
    return [(resource, name, send) for name, send in requests.items()]


REQUESTS = [request for resource in RESOURCES for request in _requests(resource)]
each_request = pytest.mark.parametrize(
    ("resource", "send"),
    [(resource, send) for resource, _, send in REQUESTS],
    ids=[f"{resource.plural}: {name}" for resource, name, _ in REQUESTS],
)


@pytest.fixture
async def one(client: httpx.AsyncClient, resource: Resource, sent_statements: list[Sent]) -> str:
    """The path of one of the user's. Making it has also made the service open its connection, with its statements."""
    created = await resource.create(client, USER)
    await statements_reported()
    sent_statements.clear()
    return f"{resource.of(USER)}/{created['id']}"


@each_request
@pytest.mark.parametrize("exists", [True, False])
async def test_an_operation_is_one_statement_for_the_owner(
    client: httpx.AsyncClient, sent_statements: list[Sent], resource: Resource, one: str, send: Case, exists: bool
) -> None:
    response = await send(client, one if exists else f"{resource.of(USER)}/{MISSING_ID}")
    assert response.status_code in ((200, 201, 404) if not exists else (200, 201))
    await statements_reported()
    [statement] = sent_statements
    assert statement.owners() == {USER}
    assert "mallory" not in statement.arguments


@each_request
async def test_an_operation_finds_its_rows_by_the_primary_key(
    client: httpx.AsyncClient,
    connection: asyncpg.Connection,
    sent_statements: list[Sent],
    resource: Resource,
    one: str,
    send: Case,
) -> None:
    """So it costs the same however many rows others have."""
    await connection.execute(
        f"INSERT INTO {resource.plural} (user_id, id, {resource.text})"
        " SELECT 'user ' || n % 10, gen_random_uuid(), 'x' FROM generate_series(1, 2000) AS n"
    )
    await connection.execute(f"ANALYZE {resource.plural}")
    await send(client, one)
    await statements_reported()
    [sent] = sent_statements
    plan = await connection.fetch(f"EXPLAIN (GENERIC_PLAN) {sent.sql}", *sent.arguments)
    shown = "\n".join(line[0] for line in plan)
    assert sent.sql.startswith("INSERT") or f" using {resource.plural}_pkey" in shown, shown
    assert "Seq Scan" not in shown, shown


@each_resource
async def test_a_foreign_one_and_a_missing_one_take_the_same_way(
    client: httpx.AsyncClient, sent_statements: list[Sent], resource: Resource, one: str
) -> None:
    """The same statement, so that not even the time that it takes can tell them apart."""
    for id in (one.rpartition("/")[2], MISSING_ID):
        assert (await client.get(f"{resource.of('mallory')}/{id}")).status_code == 404
    await statements_reported()
    foreign, missing = sent_statements
    assert foreign.sql == missing.sql
    assert foreign.owners() == missing.owners() == {"mallory"}


@pytest.mark.parametrize("path", ["/nowhere", "/health/live", "/docs", "/openapi.json", "/api/alice/tasks/no-uuid"])
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
    async def connection_of_the_service(self, app: Application) -> AsyncIterator[asyncpg.Connection]:
        async with app.database.transaction() as transaction:
            assert isinstance(transaction, _Transaction)
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

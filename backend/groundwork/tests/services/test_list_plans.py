"""A page of a sorted list reads only its own rows by an index, in each order and wherever the page starts."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from groundwork.testing import postgres
from groundwork.testing.contract.statements import ROWS_READ
from groundwork.tests.errands import LIST, create_template
from groundwork.tests.services.test_plans import connect

MANY, ROWS, LIMIT = "has many", 20_000, 20
OWNERS = (MANY, "user 1", "has none")
# A third of the rows has no due date. Each date occurs several times.
FILL = f"""
    INSERT INTO errands (user_id, id, title, due_at, rank, status)
    SELECT CASE WHEN n <= {ROWS} THEN '{MANY}' ELSE 'user ' || n % 100 END, gen_random_uuid(), 'Buy ' || n,
           CASE WHEN n % 3 > 0 THEN '2026-01-01'::timestamptz + n % 5000 * interval '1 hour' END,
           CASE WHEN n % 3 > 0 THEN n % 100 END, (ARRAY['open', 'done'])[1 + n % 2]
    FROM generate_series(1, {ROWS + 10_000}) AS n
"""
SEARCH = (
    "CREATE EXTENSION pg_trgm",
    "CREATE EXTENSION btree_gin",
    "CREATE INDEX errands_search ON errands USING gin (user_id, title gin_trgm_ops) WITH (fastupdate = off)",
)
AFTER = UUID(int=2**127)
"""An id in the middle of all ids."""


@pytest.fixture(scope="module", params=["analyzed", "no statistics", "empty"])
def tables(request: pytest.FixtureRequest, postgres_server: postgres.Server) -> Iterator[str]:
    """The URL of a database with these rows. No test changes them."""
    name = create_template(postgres_server, postgres.TEMPLATE)
    if request.param != "empty":
        postgres_server.execute(FILL, name)
    if request.param == "analyzed":
        postgres_server.execute("VACUUM ANALYZE errands", name)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="module")
def searched_tables(postgres_server: postgres.Server) -> Iterator[str]:
    """The URL of a database with the index from docs/lists.md."""
    name = create_template(postgres_server, postgres.TEMPLATE)
    for sql in (*SEARCH, FILL, "VACUUM ANALYZE errands"):
        postgres_server.execute(sql, name)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
async def connection(tables: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(tables)
    yield connection
    await connection.close()


async def read_and_returned(connection: asyncpg.Connection, statement: Any, values: dict[str, Any]) -> tuple[int, int]:
    async with connection.transaction():
        before = await connection.fetchval(ROWS_READ)
        returned = len(await connection.fetch(statement.sql, *statement.arguments(values)))
        return await connection.fetchval(ROWS_READ) - before, returned


# A value in the middle of each order.
VALUES: dict[str, Any] = {"due_at": datetime(2026, 4, 1, tzinfo=UTC), "rank": 50, "title": "Buy 5"}
FILTERS: list[dict[str, Any]] = [
    {},
    {"due_from": datetime(2026, 3, 1, tzinfo=UTC)},
    {"due_from": datetime(2026, 3, 1, tzinfo=UTC), "due_before": datetime(2026, 4, 10, tzinfo=UTC)},
]


SORTS = ["due_at", "-due_at", "rank", "-rank", "title", "-title", "id", "-id"]
# A range of one column cannot use the index of another column.
CASES = [(sort, filters) for sort in SORTS for filters in FILTERS if not filters or "due_at" in sort]


@pytest.mark.parametrize(("sort", "filters"), CASES)
async def test_a_page_reads_as_many_rows_as_it_returns(
    connection: asyncpg.Connection, sort: str, filters: dict[str, Any]
) -> None:
    order = LIST.orders[sort]
    for owner in OWNERS:
        for start in order.starts:
            statement = LIST._page(sort, start, frozenset(filters))
            known = {"owner": owner, "limit": LIMIT, "after_id": AFTER, "after_value": VALUES.get(order.column.key)}
            values = {name: value for name, value in {**known, **filters}.items() if name in statement.names}
            read, returned = await read_and_returned(connection, statement, values)
            assert read == returned, f"{read} rows are read for {returned}, for {owner}: {statement.sql}"
    counted = await connection.fetch("SELECT generic_plans, custom_plans FROM pg_prepared_statements")
    plans = [(generic, custom) for generic, custom in counted if generic + custom == len(OWNERS)]
    assert plans == [(len(OWNERS), 0)] * len(order.starts), "PostgreSQL plans a statement anew each time"


async def test_a_search_reads_the_rows_that_it_finds(searched_tables: str) -> None:
    connection = await connect(searched_tables)
    for sort in ("-id", "due_at", "-due_at"):
        statement = LIST._page(sort, None, frozenset({"word"}))
        read, returned = await read_and_returned(
            connection, statement, {"owner": MANY, "limit": LIMIT, "word": "y 1999"}
        )
        # Titles in which another digit follows 1999 are found too. A list of two parts searches both of them.
        assert returned == 11
        assert read <= 2 * returned + LIMIT, statement.sql
    await connection.close()

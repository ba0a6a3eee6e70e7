"""PostgreSQL plans each statement once for a connection, and that one plan is right for every user."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Column, Index, MetaData, String, Table, UniqueConstraint

from app.models.task import Task
from app.services import tasks
from groundwork import ids
from groundwork.data.connector import Connector, connection_target
from groundwork.data.kept_texts import kept_texts
from groundwork.data.rows import optional_equals
from groundwork.data.statement import Statement
from groundwork.testing import postgres
from groundwork.testing.contract.statements import ROWS_READ, require_few_rows
from groundwork.testing.statements import Sent
from groundwork.tests.core import set_default
from groundwork.tests.partitions import partition
from groundwork.tests.pooler import Pooler
from groundwork.tests.services.statements import STATEMENTS, values_of

# This user has so many rows. Each other user has ten.
MANY, ROWS = "has many", 20_000
OTHERS = 1_000
OWNERS = (MANY, "user 1", "has none")
LIMIT = 20
# A page reads one row more than it returns. Removing keys finds, locks and removes ten of them.
MOST_ROWS_READ = 50
RUNS = 20
FILL = (
    f"""INSERT INTO tasks (user_id, id, title)
        SELECT '{MANY}', gen_random_uuid(), 'Buy milk' FROM generate_series(1, {ROWS})
        UNION ALL
        SELECT 'user ' || n % {OTHERS}, gen_random_uuid(), 'Buy milk' FROM generate_series(1, {10 * OTHERS}) AS n""",
    """INSERT INTO idempotency_keys (user_id, key, fingerprint, answer, created_at)
        SELECT user_id, id, '', '{}', now() - random() * interval '48 hours' FROM tasks""",
)


@pytest.fixture(
    scope="module", params=["plain", "plain, no statistics", "partitioned", "partitioned, no statistics", "empty"]
)
def tables(request: pytest.FixtureRequest, postgres_server: postgres.Server) -> Iterator[str]:
    """The URL of a database with these rows. No test changes them."""
    with postgres_server.database(postgres.TEMPLATE) as url:
        name = url.rpartition("/")[2]
        if request.param.startswith("partitioned"):
            partition(postgres_server, name)
        if request.param != "empty":
            for sql in FILL:
                postgres_server.execute(sql, name)
        if not request.param.endswith("no statistics"):
            postgres_server.execute("VACUUM ANALYZE", name)
        yield url


async def connect(url: str) -> asyncpg.Connection:
    """Open a connection as the service does."""
    return await Connector(connection_target(url), timeout_seconds=10)()


@pytest.fixture
async def connection(tables: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(tables)
    yield connection
    await connection.close()


async def run(connection: asyncpg.Connection, statement: Statement[Any], owner: str, number: int) -> int:
    """Run a statement as the service does, and undo it. Returns the number of rows that PostgreSQL read."""
    transaction = connection.transaction()
    await transaction.start()
    id = await connection.fetchval("SELECT id FROM tasks WHERE tasks.user_id = $1 ORDER BY id LIMIT 1", owner)
    id = id or ids.LARGEST
    # Every row fits the filter. If few rows fitted it, every plan would read many rows, because no index helps.
    of_a_page = {"completed": (None, False)[number % 2], "before": (ids.LARGEST, id)[number % 3 == 0]}
    values = values_of(
        statement, owner=owner, id=id, limit=(1, LIMIT)[number % 2], **(of_a_page if statement is tasks._LIST else {})
    )
    before = await connection.fetchval(ROWS_READ)
    await connection.fetch(statement.sql, *statement.arguments(values))
    read: int = await connection.fetchval(ROWS_READ) - before
    await transaction.rollback()
    return read


async def require_one_plan(connection: asyncpg.Connection, statement: Statement[Any]) -> None:
    for number in range(RUNS):
        await run(connection, statement, OWNERS[number % len(OWNERS)], number)
    prepared = await connection.fetch("SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements")
    plans = {text: (generic, custom) for text, generic, custom in prepared}
    found = plans.get(statement.sql) or plans[kept_texts.of(statement.sql) or ""]
    assert found == (RUNS, 0), f"PostgreSQL plans the statement anew each time: {statement.sql}"


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
class TestEachStatement:
    async def test_is_planned_once(self, connection: asyncpg.Connection, statement: Statement[Any]) -> None:
        await require_one_plan(connection, statement)

    async def test_reads_few_rows_whoever_owns_them(
        self, connection: asyncpg.Connection, statement: Statement[Any]
    ) -> None:
        for number, owner in enumerate(OWNERS * 2):
            read = await run(connection, statement, owner, number)
            assert read <= MOST_ROWS_READ, (
                f"{read} rows are read for {owner!r}: {statement.sql}\n"
                "PostgreSQL has one plan for all values: give the table an index that begins with user_id and holds"
                " the columns of ORDER BY next, and the statement conditions that fit it."
            )


async def test_a_statement_that_reads_all_rows_of_its_user_is_found(
    connection: asyncpg.Connection, request: pytest.FixtureRequest
) -> None:
    if request.node.callspec.params["tables"] == "empty":
        pytest.skip("there is nothing to read")
    unfit = Sent("SELECT tasks.id FROM tasks WHERE tasks.user_id = $1 ORDER BY tasks.title LIMIT 1", (MANY,))
    with pytest.raises(AssertionError, match=rf"reads {ROWS} rows for 1, .*\n.* write one statement with it"):
        await require_few_rows(connection, unfit)


class TestAConnection:
    async def test_leaves_the_choice_to_whoever_has_made_one(self, tables: str) -> None:
        connection = await connect(f"{tables}?options=-c%20plan_cache_mode%3Dforce_custom_plan")
        assert await connection.fetchval("SHOW plan_cache_mode") == "force_custom_plan"
        await connection.close()

    async def test_keeps_statements_for_ever(self, tables: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Otherwise requests would prepare and plan them again."""
        options: dict[str, Any] = {}
        original = asyncpg.connect
        monkeypatch.setattr(asyncpg, "connect", lambda **given: options.update(given) or original(**given))
        await (await connect(tables)).close()
        assert options["max_cached_statement_lifetime"] == 0

    @pytest.mark.parametrize("kind", ["pooler", "tracking_pooler"])
    async def test_sets_nothing_in_a_session_of_a_poolers(
        self, request: pytest.FixtureRequest, database_url: str, kind: str
    ) -> None:
        pooler: Pooler = request.getfixturevalue(kind)
        connection = await connect(pooler.url(database_url))
        assert await connection.fetchval("SHOW plan_cache_mode") == "auto"
        await connection.close()

    async def test_through_a_pooler_plans_once_if_the_database_says_so(
        self, tracking_pooler: Pooler, tables: str
    ) -> None:
        """As docs/partitioning.md says."""
        direct = await connect(tables)
        await set_default(direct, "plan_cache_mode", "force_generic_plan")
        await direct.close()
        connection = await connect(tracking_pooler.url(tables))
        for statement in (tasks._GET, tasks._LIST, tasks._TOGGLE.always):
            await require_one_plan(connection, statement)
        await connection.close()


class TestAnOptionalFilter:
    """One plan serves all values, so it cannot use an index that only helps where the filter is given."""

    @pytest.mark.parametrize(
        "extra", [Index("tasks_state", "user_id", "state"), UniqueConstraint("user_id", "state")], ids=type
    )
    def test_is_refused_on_a_column_that_has_an_index(self, extra: Any) -> None:
        table = Table("tasks", MetaData(), Column("user_id", String), Column("state", String), extra)
        with pytest.raises(TypeError, match=r"tasks\.state .* write one statement with the condition"):
            optional_equals(table.c.state)

    def test_is_made_on_any_other_column(self) -> None:
        optional_equals(Task.completed)

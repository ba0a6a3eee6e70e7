"""No key depends on how the database orders texts. The tests run the SQL of docs/collations.md as it is."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
import yaml

from groundwork import ids
from groundwork.testing import postgres
from groundwork.testing.contract import migrations as contract
from groundwork.testing.contract.migrations import (
    empty,
    empty_url,
    schema,
)
from groundwork.tests import BACKEND
from groundwork.tests.migrations.test_partitioning import documented_steps

__all__ = ["empty", "empty_url"]

DOCUMENT = BACKEND / "groundwork" / "docs" / "collations.md"
BEFORE = "7d27952cdf17"
ROWS = 1000
# With the collation of each text. Of Alembic's own table there is one row.
KEYS = """
    SELECT indexrelid::regclass::text AS index, attname, attcollation::regcollation::text,
        part.used::regcollation::text AS used
    FROM pg_index JOIN pg_class ON pg_class.oid = indrelid AND relnamespace = 'public'::regnamespace,
        unnest(indkey, indcollation) AS part (number, used) JOIN pg_attribute ON attnum = number
    WHERE attrelid = indrelid AND attcollation <> 0 AND relname <> 'alembic_version'
"""


def blocks() -> list[str]:
    return re.findall(r"^```sql\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


AFFECTED, DEPENDENT, FIRST, SECOND = blocks()


# The embedded server has no ICU, and a machine may have no other locale.
@pytest.fixture(
    params=[
        "LOCALE_PROVIDER libc LOCALE 'C.UTF-8'",
        "LOCALE_PROVIDER libc LOCALE 'en_US.UTF-8'",
        "LOCALE_PROVIDER icu ICU_LOCALE 'und' LOCALE 'C'",
    ]
)
def url(request: pytest.FixtureRequest, postgres_server: postgres.Server) -> Iterator[str]:
    """An empty database that orders texts in this way."""
    try:
        postgres_server.execute(f"CREATE DATABASE ordered TEMPLATE template0 ENCODING 'UTF8' {request.param}")
    except (
        asyncpg.FeatureNotSupportedError,
        asyncpg.WrongObjectTypeError,
        asyncpg.InvalidParameterValueError,
    ) as error:
        pytest.skip(str(error))
    yield postgres_server.url("ordered")
    postgres_server.drop_database("ordered")


@pytest.fixture
async def ordered(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def migrate(url: str, revision: str = "head") -> None:
    await asyncio.to_thread(postgres.migrate, url, BACKEND, revision)


async def fill(connection: asyncpg.Connection) -> None:
    users = [f"{name}{number}" for name in ("a", "A", "ä", "-", "é ", "z") for number in range(ROWS // 6)]
    rows = [(user, ids.uuid7(), "title") for user in users]
    await connection.copy_records_to_table("tasks", records=rows, columns=["user_id", "id", "title"])
    keys = [(user, user, b"") for user in users]
    columns = ["user_id", "key", "fingerprint"]
    await connection.copy_records_to_table("idempotency_keys", records=keys, columns=columns)


async def rows(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    return list(await connection.fetch("SELECT user_id, id FROM tasks ORDER BY id"))


async def test_every_text_in_an_index_is_compared_by_bytes_whatever_the_databases_default(
    url: str, ordered: asyncpg.Connection
) -> None:
    await migrate(url, BEFORE)
    await fill(ordered)
    before, old = await rows(ordered), await schema(ordered)
    await migrate(url)
    keys = await ordered.fetch(KEYS)
    assert {(index, column) for index, column, *_ in keys} >= {
        ("tasks_pkey", "user_id"),
        ("idempotency_keys_pkey", "user_id"),
        ("idempotency_keys_pkey", "key"),
        ("idempotency_keys_user_id_created_at_idx", "user_id"),
    }
    assert {collation for *_, column, index in keys for collation in (column, index)} == {'"C"'}
    assert await ordered.fetch(AFFECTED) == []
    assert [row["name"] for row in await ordered.fetch(DEPENDENT)] == ["alembic_version_pkc"]
    assert await rows(ordered) == before
    await asyncio.to_thread(postgres.alembic, BACKEND, url, "downgrade", BEFORE)
    assert (await rows(ordered), await schema(ordered)) == (before, old)


async def test_after_the_documented_steps_the_migration_builds_no_index_of_the_table(
    url: str, ordered: asyncpg.Connection, connection: asyncpg.Connection
) -> None:
    await migrate(url, BEFORE)
    await fill(ordered)
    before = await rows(ordered)
    for step in (FIRST, SECOND):
        await ordered.execute(step)
    file = "SELECT pg_relation_filenode('tasks_pkey')"
    built = await ordered.fetchval(file)
    await migrate(url)
    assert await ordered.fetchval(file) == built
    assert await rows(ordered) == before
    assert await schema(ordered) == await schema(connection)
    with pytest.raises(asyncpg.UniqueViolationError):
        await ordered.execute("INSERT INTO tasks (user_id, id, title) VALUES ($1, $2, 'again')", *before[0])


async def test_a_table_that_was_partitioned_before_is_left_out(empty_url: str, empty: asyncpg.Connection) -> None:
    await migrate(empty_url, BEFORE)
    await fill(empty)
    before = await rows(empty)
    for step in documented_steps():
        await empty.execute(step)
    await migrate(empty_url)
    assert await rows(empty) == before
    keys = await empty.fetch(KEYS)
    assert {(row["index"], row["used"]) for row in keys if not row["index"].startswith("task")} == {
        ("idempotency_keys_pkey", '"C"'),
        ("idempotency_keys_user_id_created_at_idx", '"C"'),
    }
    await asyncio.to_thread(postgres.alembic, BACKEND, empty_url, "downgrade", BEFORE)
    assert await rows(empty) == before


async def test_an_affected_database_is_found(url: str, ordered: asyncpg.Connection) -> None:
    """The database looks as if its indexes had been built with another version of the collation library."""
    await migrate(url, BEFORE)
    await ordered.execute("UPDATE pg_database SET datcollversion = '0' WHERE datname = current_database()")
    assert [tuple(row)[:2] for row in await ordered.fetch(AFFECTED)] == [("ordered", "0")]
    names = {row["name"] for row in await ordered.fetch(DEPENDENT)}
    assert {"tasks_pkey", "idempotency_keys_pkey", "idempotency_keys_user_id_created_at_idx"} <= names
    for name in names:
        await ordered.execute(f"REINDEX INDEX CONCURRENTLY {name}")
    # PostgreSQL knows no version of C.UTF-8.
    if (await ordered.fetch(AFFECTED))[0]["now"]:
        await ordered.execute("ALTER DATABASE ordered REFRESH COLLATION VERSION")
        assert await ordered.fetch(AFFECTED) == []


@pytest.mark.parametrize("file", ["docker-compose.yml", "deploy/vm/compose.yaml"])
def test_new_databases_in_containers_do_not_ask_the_operating_system(file: str) -> None:
    services = yaml.safe_load((BACKEND.parent / file).read_text())["services"]
    images = {each["image"] for each in services.values() if each.get("image", "").startswith("postgres")}
    assert images == {postgres.IMAGE}, "pinned with its Debian release"
    assert "--locale-provider=builtin --locale=C.UTF-8" in services["db"]["environment"]["POSTGRES_INITDB_ARGS"]


INDEXES = {
    "(title)": "tasks_idx, title",
    "(user_id, lower(title))": "tasks_idx, lower",
    '(title COLLATE "C")': "",
    "(title text_pattern_ops)": "",
    "USING hash (title)": "",
    "(user_id, created_at)": "",
}


@pytest.mark.parametrize("index", INDEXES)
async def test_an_index_on_another_text_is_refused(connection: asyncpg.Connection, index: str) -> None:
    await connection.execute(f"CREATE INDEX tasks_idx ON tasks {index}")
    if said := INDEXES[index]:
        with pytest.raises(AssertionError, match=re.escape(said)):
            await contract.test_no_index_depends_on_the_databases_default_order_of_texts(connection)
    else:
        await contract.test_no_index_depends_on_the_databases_default_order_of_texts(connection)

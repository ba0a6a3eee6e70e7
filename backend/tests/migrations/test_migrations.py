"""The schema's way up and down, and what happens when it is disturbed."""

import ast
import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

from app.models import metadata
from tests import postgres
from tests.core import eventually

MIGRATIONS = postgres.BACKEND / "migrations"
VERSIONS = sorted((MIGRATIONS / "versions").glob("*.py"))
_numbers = itertools.count(1)

# Everything that makes a table what it is, in PostgreSQL's own words.
SCHEMA = """
    SELECT kind || ' ' || tables.relname || ': ' || definition FROM pg_class AS tables
    JOIN pg_namespace ON pg_namespace.oid = relnamespace AND nspname = 'public'
    JOIN LATERAL (
        SELECT 'column' AS kind,
            concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid))
            AS definition
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = tables.oid AND attnum > 0 AND NOT attisdropped
        UNION ALL SELECT 'constraint', conname || ' ' || pg_get_constraintdef(oid)
        FROM pg_constraint WHERE conrelid = tables.oid
        UNION ALL SELECT 'index', pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = tables.oid
    ) AS parts ON true
    WHERE tables.relkind IN ('r', 'p') AND tables.relname <> 'alembic_version' ORDER BY 1
"""


@pytest.fixture
def empty_url(postgres_server: postgres.Server) -> Iterator[str]:
    """A database that no migration has touched."""
    name = f"empty_{next(_numbers)}"
    postgres_server.create_database(name)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_url)
    yield connection
    await connection.close()


class Ended(NamedTuple):
    code: int
    output: str
    errors: str


async def start(url: str, *arguments: str) -> asyncio.subprocess.Process:
    """`alembic`, as a deployment runs it."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "alembic", *arguments, cwd=postgres.BACKEND,
        env={**os.environ, "DATABASE_URL": url, "DATABASE_DIRECT_URL": ""},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process) -> Ended:
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, output.decode(), errors.decode())


async def alembic(url: str, *arguments: str) -> Ended:
    return await end(await start(url, *arguments))


async def migrate(url: str, *arguments: str) -> None:
    ended = await alembic(url, *arguments)
    assert ended.code == 0, ended.errors


async def schema(connection: asyncpg.Connection) -> list[str]:
    return [row[0] for row in await connection.fetch(SCHEMA)]


async def test_up_down_and_up_again_give_the_same_schema(empty_url: str, empty: asyncpg.Connection) -> None:
    assert await schema(empty) == []
    await migrate(empty_url, "upgrade", "head")
    first = await schema(empty)
    assert any("idempotency_keys_pkey" in part for part in first)
    await migrate(empty_url, "downgrade", "base")
    assert await schema(empty) == []
    await migrate(empty_url, "upgrade", "head")
    assert await schema(empty) == first


async def test_alembic_finds_nothing_to_migrate(database_url: str) -> None:
    await migrate(database_url, "check")


async def test_the_models_describe_the_migrated_schema_to_the_last_constraint(
    empty_url: str, empty: asyncpg.Connection, connection: asyncpg.Connection
) -> None:
    engine = create_async_engine(empty_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as transaction:
        await transaction.run_sync(metadata.create_all)
    await engine.dispose()
    assert await schema(empty) == await schema(connection)


def test_there_is_one_way_from_the_first_migration_to_the_last() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert len(scripts.get_heads()) == 1
    assert len(scripts.get_bases()) == 1
    assert len(list(scripts.walk_revisions())) == len(VERSIONS)


@pytest.mark.parametrize("path", [*VERSIONS, MIGRATIONS / "script.py.mako"], ids=lambda path: path.name)
def test_a_migration_waits_for_no_lock_for_long(path: Path) -> None:
    # In the template, `${…}` stands where code will be: empty here.
    source = "\n".join(line for line in path.read_text().splitlines() if "${" not in line)
    statements = {
        node.name: ast.unparse(node.body[0]) for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)
    }
    assert statements == {"upgrade": "op.execute(LOCK_TIMEOUT)", "downgrade": "op.execute(LOCK_TIMEOUT)"}
    assert "LOCK_TIMEOUT = \"SET LOCAL lock_timeout = '" in source


@asynccontextmanager
async def migration_lock(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Hold the lock that lets one migration run at a time."""
    (number,) = (
        ast.literal_eval(node.value)
        for node in ast.parse((MIGRATIONS / "env.py").read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_LOCK"
    )
    await connection.execute("SELECT pg_advisory_lock($1)", number)
    yield
    await connection.execute("SELECT pg_advisory_unlock($1)", number)


async def test_two_runs_at_once_both_succeed(empty_url: str, empty: asyncpg.Connection) -> None:
    async def both_wait() -> bool:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
        return bool(await empty.fetchval(waiting) == 2)

    async with migration_lock(empty):
        runs = [await start(empty_url, "upgrade", "head"), await start(empty_url, "upgrade", "head")]
        await eventually(both_wait)
    ended = [await end(run) for run in runs]
    assert [run.code for run in ended] == [0, 0], ended
    assert await empty.fetchval("SELECT count(*) FROM alembic_version") == 1


SLOW_DDL = """
    CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS
        $$ BEGIN IF to_regclass('idempotency_keys') IS NOT NULL THEN PERFORM pg_sleep(600); END IF; END $$;
    CREATE EVENT TRIGGER slow ON ddl_command_end EXECUTE FUNCTION slow();
"""


async def test_a_run_killed_half_way_leaves_the_schema_whole_and_the_next_one_finishes(
    empty_url: str, empty: asyncpg.Connection
) -> None:
    async def half_way() -> bool:
        return bool(await empty.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))

    await empty.execute(SLOW_DDL)
    # The server notices a client's death on its own only between statements, unless it is told to look.
    await empty.execute(f"ALTER DATABASE {await empty.fetchval('SELECT current_database()')} "
                        "SET client_connection_check_interval = '100ms'")  # fmt: skip
    run = await start(empty_url, "upgrade", "head")
    await eventually(half_way)
    run.send_signal(signal.SIGKILL)
    await end(run)
    assert await schema(empty) == []
    await empty.execute("DROP EVENT TRIGGER slow")
    await migrate(empty_url, "upgrade", "head")
    assert any("idempotency_keys_pkey" in part for part in await schema(empty))


async def test_a_migration_that_finds_a_table_locked_gives_up_and_says_so(
    database_url: str, connection: asyncpg.Connection
) -> None:
    before = await schema(connection)
    async with connection.transaction():
        await connection.execute("LOCK TABLE idempotency_keys IN ACCESS EXCLUSIVE MODE")
        ended = await alembic(database_url, "downgrade", "base")
    assert ended.code != 0
    assert "lock timeout" in ended.output
    assert "Traceback" not in ended.output + ended.errors
    assert await schema(connection) == before
    await migrate(database_url, "downgrade", "base")


async def newer(connection: asyncpg.Connection) -> None:
    """As if a later version's migration had run."""
    await connection.execute("UPDATE alembic_version SET version_num = 'f00000000000'")


async def test_an_older_version_leaves_a_newer_schema_alone(database_url: str, connection: asyncpg.Connection) -> None:
    await newer(connection)
    before = await schema(connection)
    ended = await alembic(database_url, "upgrade", "head")
    assert ended.code == 0
    assert "newer than this version" in ended.errors
    assert await schema(connection) == before
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "f00000000000"


@pytest.mark.parametrize("arguments", [("downgrade", "base"), ("check",), ("revision", "--autogenerate", "-m", "x")])
async def test_from_a_newer_schema_nothing_else_is_done(
    database_url: str, connection: asyncpg.Connection, arguments: tuple[str, ...]
) -> None:
    await newer(connection)
    ended = await alembic(database_url, *arguments)
    assert ended.code != 0
    assert "Can't locate revision identified by 'f00000000000'" in ended.errors


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://user:hunter2@127.0.0.1:1/app", "cannot be reached"),
        ("postgresql://user:hunter2@db.invalid/app", "cannot be reached"),
        ("mysql://user:hunter2@db/app", "DATABASE_URL: must be a PostgreSQL URL"),
        ("", "DATABASE_URL: is not set"),
    ],
    ids=["refused", "no such host", "not PostgreSQL", "none"],
)
async def test_a_database_that_cannot_be_reached_is_said_in_one_line(url: str, says: str) -> None:
    ended = await alembic(url, "upgrade", "head")
    assert ended.code != 0
    (line,) = ended.errors.splitlines()
    assert says in line
    assert "Traceback" not in ended.output
    assert "hunter2" not in ended.output + ended.errors

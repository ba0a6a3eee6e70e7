"""The migrations make the schema that the models describe, can be undone, and never wait long for a lock."""

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

from groundwork.data.tables import metadata
from groundwork.dev.migration import two_heads
from groundwork.testing import postgres
from groundwork.testing.service import Service

# The enum types, and the columns, constraints and indexes of every table, as PostgreSQL describes them.
SCHEMA = """
    SELECT kind || ' ' || tables.relname || ': ' || definition FROM pg_class AS tables
    JOIN pg_namespace ON pg_namespace.oid = relnamespace AND nspname = 'public'
    JOIN LATERAL (
        SELECT 'column' AS kind,
            concat_ws(' ', attname, format_type(atttypid, atttypmod), attcollation::regcollation, attnotnull,
                pg_get_expr(adbin, adrelid))
            AS definition
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = tables.oid AND attnum > 0 AND NOT attisdropped
        UNION ALL SELECT 'constraint', conname || ' ' || pg_get_constraintdef(oid)
        FROM pg_constraint WHERE conrelid = tables.oid
        UNION ALL SELECT 'index', pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = tables.oid
    ) AS parts ON true
    WHERE tables.relkind IN ('r', 'p') AND tables.relname <> 'alembic_version'
    UNION ALL SELECT 'enum ' || typname || ': ' || string_agg(enumlabel, ', ' ORDER BY enumsortorder)
    FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid JOIN pg_namespace ON pg_namespace.oid = typnamespace
    WHERE nspname = 'public' GROUP BY typname ORDER BY 1
"""

# The texts in indexes that depend on the database's default order. The kinds at the end of the query do not.
DEPENDENT = """
    SELECT indexrelid::regclass || ', ' || pg_get_indexdef(indexrelid, place::int, true)
    FROM pg_index JOIN pg_class ON pg_class.oid = indrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace,
        unnest(indcollation, indclass) WITH ORDINALITY AS part (used, class, place)
        JOIN pg_opclass ON pg_opclass.oid = class JOIN pg_am ON pg_am.oid = opcmethod
    WHERE nspname = 'public' AND relname <> 'alembic_version' AND used = '"default"'::regcollation
        AND amname <> 'hash' AND opcname !~ '_(pattern|trgm|bloom)_ops$'
    ORDER BY 1
"""


async def schema(connection: asyncpg.Connection) -> list[str]:
    """All parts of all tables."""
    return [row[0] for row in await connection.fetch(SCHEMA)]


@pytest.fixture
def empty_url(postgres_server: postgres.Server) -> Iterator[str]:
    """A database that no migration has touched."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_url)
    yield connection
    await connection.close()


async def test_up_down_and_up_again_give_the_same_schema(
    backend_directory: Path, empty_url: str, empty: asyncpg.Connection
) -> None:
    async def migrate(*arguments: str) -> list[str]:
        await asyncio.to_thread(postgres.alembic, backend_directory, empty_url, *arguments)
        return await schema(empty)

    first = await migrate("upgrade", "head")
    assert await migrate("downgrade", "base") == [], "a migration's downgrade() leaves something of its upgrade()"
    assert await migrate("upgrade", "head") == first


async def test_alembic_finds_nothing_to_migrate(backend_directory: Path, database_url: str) -> None:
    try:
        await asyncio.to_thread(
            postgres.alembic, backend_directory, database_url, "check", module="groundwork.dev.migration"
        )
    except AssertionError as error:
        said = str(error)
    else:
        return
    differences = re.search("New upgrade operations detected: (.*)", said)
    pytest.fail(
        'The models and the migrations differ: make migration NAME="…" writes what is missing as a new migration. Or'
        f" mend the newest one, if it has run nowhere else. What differs:\n{differences[1]}"
        if differences
        else said,
        pytrace=False,
    )


async def test_the_models_describe_the_migrated_schema_to_the_last_constraint(
    service_under_test: Service, empty_url: str, empty: asyncpg.Connection, connection: asyncpg.Connection
) -> None:
    """Autogenerate does not compare everything. It leaves out a constraint that is NOT VALID, for example."""
    engine = create_async_engine(empty_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as transaction:
        await transaction.run_sync(metadata.create_all)
    await engine.dispose()
    assert await schema(empty) == await schema(connection)


async def test_no_index_depends_on_the_databases_default_order_of_texts(connection: asyncpg.Connection) -> None:
    """That order can change with the operating system. Then a unique index takes a text twice."""
    found = [row[0] for row in await connection.fetch(DEPENDENT)]
    assert not found, (
        f"texts in indexes without a collation of their own: {'; '.join(found)}. Declare each column with"
        " groundwork.data.tables.key_text(…), then make migration. A list in a language's order names its collation:"
        ' Field(sa_type=String(200, collation="und-x-icu"), max_length=200)'
    )


def test_there_is_one_way_from_the_first_migration_to_the_last(backend_directory: Path) -> None:
    scripts = ScriptDirectory(str(backend_directory / "migrations"))
    assert not two_heads(scripts), two_heads(scripts)
    assert len(scripts.get_bases()) == 1
    versions = list((backend_directory / "migrations" / "versions").glob("*.py"))
    assert len(list(scripts.walk_revisions())) == len(versions)


def test_a_migration_waits_for_no_lock_for_long(backend_directory: Path) -> None:
    """A migration that waits for a lock makes every request behind it wait too."""
    folder = backend_directory / "migrations"
    for path in (*(folder / "versions").glob("*.py"), folder / "script.py.mako"):
        # The template's lines with `${…}` are not Python yet, so they are left out.
        source = "\n".join(line for line in path.read_text().splitlines() if "${" not in line)
        functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
        assert {node.name: ast.unparse(node.body[0]) for node in functions} == {
            "upgrade": "op.execute(LOCK_TIMEOUT)",
            "downgrade": "op.execute(LOCK_TIMEOUT)",
        }, f"{path.name}: upgrade() and downgrade() must begin with op.execute(LOCK_TIMEOUT)"
        assert "LOCK_TIMEOUT = \"SET LOCAL lock_timeout = '" in source, path.name

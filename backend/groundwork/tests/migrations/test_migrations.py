"""Upgrades and downgrades of the schema, and what happens when one is disturbed."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from groundwork.serve.migrations import _LOCK
from groundwork.testing import postgres
from groundwork.testing.contract.migrations import empty, empty_url, schema
from groundwork.tests import BACKEND
from groundwork.tests.core import eventually

__all__ = ["empty", "empty_url"]

MIGRATIONS = BACKEND / "migrations"


class Ended(NamedTuple):
    code: int
    output: str
    errors: str


async def start(url: str, *arguments: str, cwd: Path = BACKEND) -> asyncio.subprocess.Process:
    """Start `alembic` as a deployment does."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "alembic", *arguments, cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(BACKEND), "DATABASE_URL": url, "DATABASE_DIRECT_URL": ""},
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


@asynccontextmanager
async def migration_lock(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Hold the lock that lets one migration run at a time."""
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    yield
    await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def test_two_runs_at_once_both_succeed(empty_url: str, empty: asyncpg.Connection) -> None:
    async def both_wait() -> bool:
        waiting = """
            SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND query ~ 'pg_try_advisory_xact_lock|ROLLBACK' AND backend_xmin IS NULL
        """
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
    # Without this setting, the server notices the death of a client only between statements.
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
    """Change the database as if a later version's migration had run."""
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


BRANCH = """
from alembic import op

revision = "{revision}"
down_revision = {down_revision!r}


def upgrade():
    op.execute("{step}")
"""


class Branches:
    """A copy of the project, with migrations of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.copytree(MIGRATIONS, folder / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(BACKEND / "alembic.ini", folder)
        self.head = ScriptDirectory(str(MIGRATIONS)).get_current_head()

    def add(self, revision: str, down_revision: object, step: str = "SELECT 1") -> None:
        text = BRANCH.format(revision=revision, down_revision=down_revision, step=step)
        (self._folder / f"migrations/versions/{revision}.py").write_text(text)

    async def alembic(self, url: str, *arguments: str) -> Ended:
        return await end(await start(url, *arguments, cwd=self._folder))


@pytest.fixture
def branches(tmp_path: Path) -> Branches:
    return Branches(tmp_path)


async def versions(connection: asyncpg.Connection) -> set[str]:
    return {row[0] for row in await connection.fetch("SELECT version_num FROM alembic_version")}


async def test_two_heads_are_migrated_and_merged(
    database_url: str, connection: asyncpg.Connection, branches: Branches
) -> None:
    branches.add("one", branches.head)
    branches.add("two", branches.head)
    ended = await branches.alembic(database_url, "upgrade", "heads")
    assert ended.code == 0, ended.errors
    assert await versions(connection) == {"one", "two"}
    # The version before them may run again, after a roll-back.
    ended = await alembic(database_url, "upgrade", "head")
    assert (ended.code, "newer than this version" in ended.errors) == (0, True)
    branches.add("merged", ("one", "two"))
    for _ in range(2):
        ended = await branches.alembic(database_url, "upgrade", "head")
        assert ended.code == 0, ended.errors
        assert await versions(connection) == {"merged"}


async def test_two_heads_are_no_one_head_and_it_says_so(database_url: str, branches: Branches) -> None:
    branches.add("one", branches.head)
    branches.add("two", branches.head)
    ended = await branches.alembic(database_url, "upgrade", "head")
    assert ended.code != 0
    assert "Multiple head revisions" in ended.output + ended.errors
    assert "Traceback" not in ended.output + ended.errors


async def test_a_database_of_another_branch_is_not_taken_for_newer(
    empty_url: str, empty: asyncpg.Connection, branches: Branches
) -> None:
    """The changes of this version's migrations are missing there."""
    branches.add("sibling", None)
    ended = await branches.alembic(empty_url, "upgrade", "sibling")
    assert ended.code == 0, ended.errors
    ended = await alembic(empty_url, "upgrade", "head")
    assert ended.code != 0
    assert "is at revision sibling, which this version does not know" in ended.output + ended.errors
    assert "idempotency_keys." in ended.output + ended.errors
    assert "Traceback" not in ended.output + ended.errors
    assert await versions(empty) == {"sibling"}


class TestOtherDatabases:
    """Databases that a run must not take for its own, or for a newer one."""

    async def test_with_the_revisions_and_the_tables_of_another_service(
        self, empty_url: str, empty: asyncpg.Connection
    ) -> None:
        await empty.execute(
            "CREATE TABLE alembic_version (version_num varchar(32)); INSERT INTO alembic_version VALUES ('theirs');"
            "CREATE TABLE orders (id bigint PRIMARY KEY)"
        )
        before = await schema(empty)
        assert_one_sentence(
            await alembic(empty_url, "upgrade", "head"),
            "at revision theirs, which this version does not know, and lacks idempotency_keys.*",
            "it is another service's",
        )
        assert await schema(empty) == before

    async def test_with_an_unknown_revision_and_without_a_column(
        self, database_url: str, connection: asyncpg.Connection
    ) -> None:
        await newer(connection)
        await connection.execute("ALTER TABLE idempotency_keys DROP COLUMN answer")
        assert_one_sentence(
            await alembic(database_url, "upgrade", "head"),
            "and lacks idempotency_keys.answer",
            "restore the whole dump",
        )

    async def test_with_two_unknown_revisions(self, database_url: str, connection: asyncpg.Connection) -> None:
        await newer(connection)
        await connection.execute("INSERT INTO alembic_version VALUES ('e00000000000')")
        ended = await alembic(database_url, "upgrade", "head")
        assert (ended.code, "newer than this version" in ended.errors) == (0, True)
        await connection.execute("DROP TABLE idempotency_keys")
        assert_one_sentence(
            await alembic(database_url, "upgrade", "head"),
            "at revision e00000000000, f00000000000, which this version does not know, and lacks idempotency_keys.*",
        )

    async def test_with_the_tables_and_no_revision(self, database_url: str, connection: asyncpg.Connection) -> None:
        """This is the state after a restore of all tables except Alembic's."""
        before = await schema(connection)
        for gone in ("DELETE FROM alembic_version", "DROP TABLE alembic_version"):
            await connection.execute(gone)
            assert_one_sentence(
                await alembic(database_url, "upgrade", "head"), "already exists: nothing was changed", "whole dump"
            )
            assert await schema(connection) == before

    async def test_with_a_revision_twice(self, database_url: str, connection: asyncpg.Connection) -> None:
        """This is the state after the rows of an older dump were restored into a migrated database."""
        first = ScriptDirectory(str(MIGRATIONS)).get_base()
        await connection.execute("INSERT INTO alembic_version VALUES ($1)", first)
        assert_one_sentence(
            await alembic(database_url, "upgrade", "head"), f"overlaps with other requested revisions {first}"
        )

    async def test_with_this_versions_revision_and_without_a_table(
        self, database_url: str, connection: asyncpg.Connection
    ) -> None:
        """The run has nothing to do. In development, a new model may be waiting for its first migration."""
        await connection.execute("DROP TABLE idempotency_keys")
        ended = await alembic(database_url, "upgrade", "head")
        assert ended.code == 0
        assert "and lacks idempotency_keys.*: it is another service's" in ended.errors
        assert "this version is not ready to serve" in ended.errors

    async def test_a_part_of_the_way_is_no_reason_to_warn(self, empty_url: str) -> None:
        ended = await alembic(empty_url, "upgrade", "+1")
        assert (ended.code, "lacks" in ended.errors) == (0, False)


async def test_the_script_of_a_migration_is_what_the_migration_does(
    empty_url: str, empty: asyncpg.Connection, branches: Branches, connection: asyncpg.Connection
) -> None:
    branches.add("percent", branches.head, "COMMENT ON TABLE idempotency_keys IS '100% %s %(a)s %%'")
    ended = await branches.alembic(empty_url, "upgrade", "head", "--sql")
    assert ended.code == 0, ended.errors
    await empty.execute(ended.output)
    assert await empty.fetchval("SELECT obj_description('idempotency_keys'::regclass)") == "100% %s %(a)s %%"
    assert await versions(empty) == {"percent"}
    assert await schema(empty) == await schema(connection)


@asynccontextmanager
async def role_of(url: str, connection: asyncpg.Connection, *grants: str) -> AsyncIterator[str]:
    """The URL of the same database for a role with only these rights."""
    await connection.execute("CREATE ROLE poor LOGIN PASSWORD 'secret'")
    for grant in grants:
        await connection.execute(grant)
    try:
        yield url.replace(urlsplit(url).netloc.partition("@")[0], "poor:secret", 1)
    finally:
        await connection.execute("DROP OWNED BY poor; DROP ROLE poor")


def assert_one_sentence(ended: Ended, *says: str) -> None:
    assert ended.code != 0
    everything = ended.output + ended.errors
    assert all(text in everything for text in says), everything
    assert "Traceback" not in everything
    assert "secret" not in everything


async def test_a_role_that_may_create_nothing_is_told_so(empty_url: str, empty: asyncpg.Connection) -> None:
    async with role_of(empty_url, empty) as url:
        ended = await alembic(url, "upgrade", "head")
    assert_one_sentence(ended, "permission denied for schema public", "GRANT CREATE ON SCHEMA public")
    assert await schema(empty) == []


async def test_a_role_that_may_not_read_the_version_is_told_so(
    database_url: str, connection: asyncpg.Connection
) -> None:
    async with role_of(database_url, connection) as url:
        ended = await alembic(url, "upgrade", "head")
    assert_one_sentence(ended, "permission denied for table alembic_version", "read and write alembic_version")


async def test_a_role_that_does_not_own_the_tables_is_told_so(
    database_url: str, connection: asyncpg.Connection
) -> None:
    async with role_of(database_url, connection, "GRANT SELECT, DELETE ON alembic_version TO poor") as url:
        ended = await alembic(url, "downgrade", "base")
    assert_one_sentence(ended, "must be owner of ", "must own the tables")


async def test_a_database_that_takes_no_writes_is_said(empty_url: str, empty: asyncpg.Connection) -> None:
    name = await empty.fetchval("SELECT current_database()")
    await empty.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert_one_sentence(await alembic(empty_url, "upgrade", "head"), "read-only transaction", "migrate the primary")


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def encoded_url(request: pytest.FixtureRequest, postgres_server: postgres.Server) -> Iterator[str]:
    name = "encoded"
    postgres_server.create_encoded_database(name, request.param)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


async def test_a_database_that_cannot_hold_every_text_is_refused(encoded_url: str) -> None:
    ended = await alembic(encoded_url, "upgrade", "head")
    assert_one_sentence(ended, "the database's encoding is", "ENCODING 'UTF8'")

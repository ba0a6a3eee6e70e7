"""What a migration may not do to a table in use, and tests that the safe forms are safe."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from groundwork.dev.migration_rules import Refusal, refusals
from groundwork.testing.contract.migrations import empty, empty_url
from groundwork.tests import BACKEND
from groundwork.tests.core import eventually
from groundwork.tests.migrations.projects import Project
from groundwork.tests.pooler import Pooler

__all__ = ["empty", "empty_url"]

BLOCK = "with op.get_context().autocommit_block():\n    "
TABLES = """
op.create_table("owners", sa.Column("id", sa.Integer(), primary_key=True))
op.create_table("things", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("n", sa.Integer()),
                sa.Column("owner", sa.Integer()))
op.create_index("things_n_idx", "things", ["n"])
op.execute("CREATE TYPE kind AS ENUM ('a')")
"""

REFUSED = {
    "index": ('op.create_index("x", "things", ["n"])', "CREATE INDEX blocks every write to things"),
    "unique index": ('op.create_index("x", "things", ["n"], unique=True)', "blocks every write to things"),
    "index in SQL": ("op.execute('''-- a comment; here\nCREATE  INDEX ON public.things (n)''')", "blocks every write"),
    "concurrent index in the transaction": (
        'op.create_index("x", "things", ["n"], postgresql_concurrently=True)', "All migrations of a run are one"
    ),
    "new column, not null": (
        'op.add_column("things", sa.Column("x", sa.Text(), nullable=False))', "fails on a table with rows"
    ),
    "new column, not null, in SQL": ('op.execute("ALTER TABLE things ADD x int DEFAULT 0, ADD y int NOT NULL")',
                                     "fails on a table with rows"),
    "random default": (
        'op.add_column("things", sa.Column("x", sa.Uuid(), server_default=sa.text("gen_random_uuid()")))',
        "writes things anew",
    ),
    "default of the clock": (
        'op.add_column("things", sa.Column("x", sa.DateTime(), server_default=sa.text("clock_timestamp()")))',
        "writes things anew",
    ),
    "identity": ('op.add_column("things", sa.Column("x", sa.Integer(), sa.Identity()))', "writes things anew"),
    "serial": ('op.execute("ALTER TABLE IF EXISTS things ADD COLUMN x bigserial")', "writes things anew"),
    "stored": ('op.add_column("things", sa.Column("x", sa.Integer(), sa.Computed("n + 1")))', "writes things anew"),
    "unique": ('op.create_unique_constraint("x", "things", ["n"])', "UNIQUE USING INDEX"),
    "unique column": ('op.execute("ALTER TABLE things ADD COLUMN x int UNIQUE")', "UNIQUE USING INDEX"),
    "check": ('op.create_check_constraint("x", "things", "n > 0")', "postgresql_not_valid=True"),
    "check of a new column": ('op.execute("ALTER TABLE things ADD x int CHECK (x > 0)")', "postgresql_not_valid=True"),
    "foreign key": ('op.create_foreign_key("x", "things", "owners", ["owner"], ["id"])', "op.create_foreign_key(…,"),
    "validation in the transaction": (
        'op.execute("ALTER TABLE things VALIDATE CONSTRAINT x")', "All migrations of a run are one"
    ),
    "not null": ('op.alter_column("things", "n", nullable=False)', 'op.f("things_n_not_null_check")'),
    "type": ('op.alter_column("things", "n", type_=sa.BigInteger())', "Add a column of the new type"),
    "type in SQL": ('op.execute("ALTER TABLE things ALTER n TYPE bigint")', "Add a column of the new type"),
    "table renamed": ('op.rename_table("things", "stuff")', "The running version uses the old name"),
    "column renamed": ('op.alter_column("things", "n", new_column_name="m")', "uses the old name"),
    "column renamed in SQL": ('op.execute("ALTER TABLE things RENAME n TO m")', "uses the old name"),
    "value renamed": ("op.execute(\"ALTER TYPE kind RENAME VALUE 'a' TO 'b'\")", "uses the old name"),
    "column dropped": ('op.drop_column("things", "n")', "may still use it"),
    "column dropped in SQL": ('op.execute("ALTER TABLE things DROP n")', "may still use it"),
    "table dropped": ('op.drop_table("things")', "may still use it"),
    "update": ('op.execute(sa.text("UPDATE things SET n = 1"))', "make backfill"),
    "update of the table's object": (
        'op.execute(sa.table("things", sa.column("n")).update().values(n=1))', "make backfill"
    ),
    "insert of what is selected": ('op.execute("INSERT INTO owners SELECT id FROM things")', "make backfill"),
    "delete with a part before": ('op.execute("WITH a AS (SELECT 1) DELETE FROM things")', "make backfill"),
    "rows that are read": ('op.get_bind().execute(sa.text("SELECT 1")).scalar()', "does not run without a database"),
    "value in the transaction": ("op.execute(\"ALTER TYPE kind ADD VALUE 'b'\")", "All migrations of a run are one"),
    "lock": ('op.execute("LOCK TABLE things")', "keeps everybody from the table"),
    "reindex": ('op.execute("REINDEX TABLE things")', "keeps everybody from the table"),
    "hidden": ('op.execute("DO $$ BEGIN UPDATE things SET n = 1; END $$")', "What this does cannot be seen"),
    "hidden in a procedure": ('op.execute("CALL fill()")', "What this does cannot be seen"),
    "what depends on it too": ('op.execute("DROP TYPE kind CASCADE")', "The running version may still use it"),
    "function": ('op.execute("DROP FUNCTION IF EXISTS f(integer)")', "The running version may still use it"),
    "schema": ('op.execute("DROP SCHEMA old")', "The running version may still use it"),
    "copy in parentheses": ('op.execute("INSERT INTO things (n) (SELECT id FROM owners)")', "changes many rows"),
    "expression": ('op.execute("ALTER TABLE things ALTER n SET EXPRESSION AS (id)")', "keeps everybody from the table"),
    "access method": ('op.execute("ALTER TABLE things SET ACCESS METHOD heap")', "keeps everybody from the table"),
    "a step before the block": (
        'op.add_column("things", sa.Column("x", sa.Text()))\n' + BLOCK +
        'op.create_index("x", "things", ["x"], postgresql_concurrently=True)',
        "The block commits the steps before it",
    ),
    "a lock in the block": (BLOCK + 'op.add_column("things", sa.Column("x", sa.Text()))', "no lock_timeout holds"),
    "no limit after the block": (
        BLOCK + 'op.drop_index("things_n_idx", postgresql_concurrently=True)\n'
        'op.add_column("things", sa.Column("x", sa.Text()))',
        "Write op.execute(LOCK_TIMEOUT) before this step",
    ),
}  # fmt: skip

SAFE = {
    "index": [
        BLOCK + 'op.drop_index("things_owner_idx", if_exists=True, postgresql_concurrently=True)\n'
        '    op.create_index("things_owner_idx", "things", ["owner"], postgresql_concurrently=True)'
    ],
    "unique": [
        BLOCK + 'op.create_index("things_u", "things", ["n"], unique=True, postgresql_concurrently=True)',
        'op.execute("ALTER TABLE things ADD CONSTRAINT things_u UNIQUE USING INDEX things_u")',
    ],
    "check": [
        'op.create_check_constraint(op.f("things_n_check"), "things", "n > 0", postgresql_not_valid=True)',
        BLOCK + 'op.execute("ALTER TABLE things VALIDATE CONSTRAINT things_n_check")',
    ],
    "foreign key": [
        'op.create_foreign_key(op.f("things_fk"), "things", "owners", ["owner"], ["id"], postgresql_not_valid=True)',
        BLOCK + 'op.execute("ALTER TABLE things VALIDATE CONSTRAINT things_fk")',
    ],
    "not null": [
        'op.create_check_constraint(op.f("things_nn"), "things", "n IS NOT NULL", postgresql_not_valid=True)',
        BLOCK + 'op.execute("ALTER TABLE things VALIDATE CONSTRAINT things_nn")',
        'op.alter_column("things", "n", nullable=False)\nop.drop_constraint(op.f("things_nn"), "things")',
    ],
    "column": [
        'op.add_column("things", sa.Column("a", sa.Text()))\n'
        'op.add_column("things", sa.Column("b", sa.Numeric(5, 2), server_default="0", nullable=False))\n'
        'op.add_column("things", sa.Column("c", sa.DateTime(), server_default=sa.text("now()"), nullable=False))\n'
        'op.alter_column("things", "a", server_default=sa.text("gen_random_uuid()::text"))'
    ],
    "enum": [BLOCK + "op.execute(\"ALTER TYPE kind ADD VALUE IF NOT EXISTS 'b'\")",
             "op.add_column('things', sa.Column('kind', sa.Enum(name='kind', create_type=False), server_default='b'))"],
    "rows of a new table": [
        'op.create_table("kinds", sa.Column("id", sa.Integer()))\nop.create_index("k", "kinds", ["id"])\n'
        'op.execute("INSERT INTO kinds SELECT 1")\nop.execute("UPDATE kinds SET id = 2")\n'
        'op.create_check_constraint("k", "kinds", "id > 0")\nop.alter_column("kinds", "id", nullable=False)'
    ],
    "a few rows": ["op.execute(\"INSERT INTO owners VALUES (100), (101)\")"],
    "an index that goes": ['op.drop_index("things_n_idx")'],
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.models("")
    project.add(TABLES.strip())
    return project


def refused(project: Project) -> list[Refusal]:
    return refusals(ScriptDirectory(str(project.folder / "migrations")))


def test_the_services_own_migrations_pass() -> None:
    assert refusals(ScriptDirectory(str(BACKEND / "migrations"))) == []


@pytest.mark.parametrize("case", REFUSED)
def test_what_locks_is_refused_with_the_safe_form(project: Project, case: str) -> None:
    steps, says = REFUSED[case]
    project.add(steps)
    found = refused(project)
    assert found, "it is refused"
    assert says in " ".join(map(str, found))
    assert all(each.path.stem == "step1" and "{" not in each.sentence for each in found)


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("place", ["above the step", "in its line", "above upgrade"])
def test_a_reason_lets_it_pass(project: Project, case: str, place: str) -> None:
    steps = REFUSED[case][0]
    reason = "# lock: nobody uses it yet"
    if place == "above the step":
        project.add("\n".join(f"{reason}\n{line}" if not line.startswith((" ", "CREATE")) else line
                              for line in steps.splitlines()))  # fmt: skip
    elif place == "in its line":
        project.add(
            "\n".join(f"{line}  {reason}" if line.endswith((")", ":")) else line for line in steps.splitlines())
        )
    else:
        project.add(steps, above=f"{reason}\n")
    assert refused(project) == []


def test_a_reason_must_say_something_and_holds_for_its_step_alone(project: Project) -> None:
    project.add(
        '# lock:\nop.drop_column("things", "n")\nop.drop_table("things")  # lock: unused\nop.drop_table("owners")'
    )
    assert [each.line for each in refused(project)] == [15, 17]


async def test_the_safe_forms_pass_and_run(project: Project, empty_url: str, empty: asyncpg.Connection) -> None:
    await asyncio.to_thread(project.succeed, empty_url, "alembic", "upgrade", "head")
    await empty.execute("INSERT INTO owners SELECT generate_series(1, 9);"
                        "INSERT INTO things SELECT i, i, i FROM generate_series(1, 9) AS i")  # fmt: skip
    rows = "SELECT pg_relation_filenode('things')"
    before = await empty.fetchval(rows)
    for migrations in SAFE.values():
        for steps in migrations:
            project.add(steps)
    assert refused(project) == []
    await asyncio.to_thread(project.succeed, empty_url, "alembic", "upgrade", "head")
    assert await empty.fetchval(rows) == before, "the table is not written anew"
    assert await empty.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    assert await empty.fetchval("SELECT count(*) FROM pg_constraint WHERE NOT convalidated") == 0


@pytest.fixture
async def writer(empty_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The connection of a request that keeps writing."""
    connection = await asyncpg.connect(empty_url)
    yield connection
    await connection.close()


async def test_validations_read_every_row_beside_a_request_that_writes(
    project: Project, empty_url: str, writer: asyncpg.Connection
) -> None:
    cases = [SAFE[case] for case in ("check", "foreign key", "not null")]
    for add, *_ in cases:
        project.add(add)
    await asyncio.to_thread(project.succeed, empty_url, "alembic", "upgrade", "head")
    for _, validate, *_ in cases:
        project.add(validate)
    async with writer.transaction():
        await writer.execute("INSERT INTO owners VALUES (1); INSERT INTO things VALUES (1, 1, 1)")
        await asyncio.to_thread(project.succeed, empty_url, "alembic", "upgrade", "head")


async def test_an_index_is_built_beside_requests_and_a_second_run_waits_for_it(
    project: Project, empty_url: str, empty: asyncpg.Connection, writer: asyncpg.Connection
) -> None:
    """The index waits for the writer, and the second run waits for the first. With a snapshot, that would deadlock."""
    await asyncio.to_thread(project.succeed, empty_url, "alembic", "upgrade", "head")
    project.add(SAFE["index"][0])

    async def is_waiting(query: str) -> bool:
        return bool(
            await empty.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {query}")
        )

    async with asyncio.TaskGroup() as group, writer.transaction():
        await writer.execute("INSERT INTO things VALUES (1)")
        first = group.create_task(asyncio.to_thread(project.run, empty_url, "alembic", "upgrade", "head"))
        await eventually(lambda: is_waiting("query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"))
        second = group.create_task(asyncio.to_thread(project.run, empty_url, "alembic", "upgrade", "head"))
        await eventually(lambda: is_waiting("query ~ 'pg_try_advisory_xact_lock|ROLLBACK'"))
        await empty.execute("SET lock_timeout = '3s'; INSERT INTO things VALUES (2)")
        modes = await empty.fetch(
            "SELECT DISTINCT mode FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE relation = 'things'::regclass AND query LIKE 'CREATE INDEX%'"
        )
        assert [row[0] for row in modes] == ["ShareUpdateExclusiveLock"]
    for done in (first.result(), second.result()):
        assert done.returncode == 0, done.stderr
    assert "another migration is running" in second.result().stderr
    assert await empty.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'things_owner_idx'::regclass")


async def test_through_a_pooler_a_block_leaves_no_lock_in_its_sessions(
    project: Project, empty_url: str, empty: asyncpg.Connection, pooler: Pooler
) -> None:
    url = pooler.url(empty_url)
    for steps in (*SAFE["check"], *SAFE["index"]):
        project.add(steps)
    for _ in range(2):
        await asyncio.to_thread(project.succeed, url, "alembic", "upgrade", "head")
    assert await empty.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    assert await empty.fetchval("SELECT count(*) FROM pg_index WHERE indrelid = 'things'::regclass") == 3


async def test_not_null_reads_no_row_after_a_validated_check(
    project: Project, empty_url: str, empty: asyncpg.Connection
) -> None:
    said: list[str] = []
    for steps in SAFE["not null"][:2]:
        project.add(steps)
    await asyncio.to_thread(project.succeed, empty_url, "alembic", "upgrade", "head")
    empty.add_log_listener(lambda _, message: said.append(message.message))
    await empty.execute("SET client_min_messages = debug1; ALTER TABLE things ALTER n SET NOT NULL")
    assert any("sufficient to prove that it does not contain nulls" in each for each in said)


@pytest.mark.parametrize(
    ("action", "is_written_anew"),
    [
        ("ADD x uuid DEFAULT gen_random_uuid()", True),
        ("ADD x timestamptz DEFAULT clock_timestamp()", True),
        ("ADD x int GENERATED BY DEFAULT AS IDENTITY", True),
        ("ADD x serial", True),
        ("ADD x int GENERATED ALWAYS AS (n + 1) STORED", True),
        ("ALTER n TYPE bigint", True),
        ("ADD x timestamptz NOT NULL DEFAULT now()", False),
        ("ADD x numeric(5, 2) NOT NULL DEFAULT '1'::numeric(5, 2)", False),
        ("ADD x jsonb NOT NULL DEFAULT jsonb_build_object('a', 1)", False),
        ("ADD x int", False),
    ],
)
async def test_exactly_what_writes_the_table_anew_is_refused(
    project: Project, action: str, is_written_anew: bool, empty: asyncpg.Connection
) -> None:
    await empty.execute("CREATE TABLE things (n int); INSERT INTO things SELECT generate_series(1, 9)")
    before = await empty.fetchval("SELECT pg_relation_filenode('things')")
    await empty.execute(f"ALTER TABLE things {action}")
    assert (await empty.fetchval("SELECT pg_relation_filenode('things')") != before) == is_written_anew
    project.add(f'op.execute("ALTER TABLE things {action}")')
    assert bool(refused(project)) == is_written_anew


def test_two_heads_are_refused_and_the_sentence_works(project: Project) -> None:
    for _ in range(2):
        project.add("pass", after="step0")
    nowhere = "postgresql://127.0.0.1:1/none"
    for command in (
        ["migration_rules"],
        ["migration", "write", "more"],
        ["migration", "upgrade"],
        ["migration", "check"],
    ):
        module, *arguments = command
        done = project.run(nowhere, f"groundwork.dev.{module}", *arguments)
        assert done.returncode == os.EX_DATAERR
        assert "The migrations step1 and step2 are both the newest" in done.stderr
        assert "Traceback" not in done.stderr
    _, *advised = re.search(r"python -m (alembic) (merge) -m \"(.*?)\" (heads)", done.stderr).groups()  # type: ignore[union-attr]
    project.succeed(nowhere, "alembic", *advised[:1], "-m", *advised[1:])
    assert project.run(nowhere, "groundwork.dev.migration_rules").returncode == 0


BROKEN = {
    "revision of none": ("down_revision = 'step0'", 'down_revision = "gone"', "has the down_revision 'gone'"),
    "revision twice": ('revision = "step1"', 'revision = "step0"', "do not follow one another"),
    "circle": ("down_revision = 'step0'", 'down_revision = "step1"', "do not follow one another"),
    "no Python": ("def upgrade() -> None:", "def upgrade( -> None:", "step1.py:"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_migrations_that_cannot_be_read_are_a_sentence(project: Project, case: str) -> None:
    old, new, sentence = BROKEN[case]
    project.add("pass", after="step0")
    file = project.versions / "step1.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    for command in (["migration_rules"], ["migration", "check"], ["migration", "upgrade"]):
        module, *arguments = command
        done = project.run("postgresql://127.0.0.1:1/none", f"groundwork.dev.{module}", *arguments)
        assert done.returncode == os.EX_DATAERR
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
        assert "Warning" not in done.stderr


def test_a_refusal_names_the_place_and_fails_the_check(project: Project) -> None:
    project.add('op.drop_table("things")')
    done = project.run("", "groundwork.dev.migration_rules")
    assert done.returncode == os.EX_DATAERR
    assert "migrations/versions/step1.py:14: The running version may still use it." in done.stderr

"""What `make migration` writes: enum types, checks and comments, on the way up and down.

All cases are tables of one project, so that the commands run once.
"""

import asyncio
import re
from collections.abc import Iterator
from typing import NamedTuple

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from groundwork.dev.migration_rules import refusals
from groundwork.testing import postgres
from groundwork.testing.contract.migrations import schema
from groundwork.tests.migrations.projects import Project


class Case(NamedTuple):
    """A case. In its texts, `NAME` stands for the name of the case."""

    before: str
    after: str
    writes: tuple[str, ...]
    """Texts that must be in the second migration."""


def table(*rest: str) -> str:
    return f'sa.Table("NAME", metadata, sa.Column("id", sa.Integer, primary_key=True), {", ".join(rest)})\n'


STATUS = 'sa.Column("status", sa.Enum("open", "it\'s done", name="NAME_status"))'
COUNT = 'sa.Column("count", sa.Integer)'
CREATED = "CREATE TYPE NAME_status AS ENUM ('open', 'it''s done')"
DROPPED = "DROP TYPE NAME_status"

CASES = {
    "an enum with its table": Case(
        "", table(STATUS, STATUS.replace('Column("status"', 'Column("old"')), (CREATED, DROPPED)
    ),
    "an enum with its column": Case(
        table(COUNT), table(COUNT, STATUS.replace("status", "Status")), ('CREATE TYPE "NAME_Status"',)
    ),
    "an array of an enum": Case(
        table(COUNT),
        table('sa.Column("all", sa.ARRAY(sa.Enum("a", "b", name="NAME_letter")), server_default=sa.text("\'{a}\'"))'),
        ("CREATE TYPE NAME_letter", "DROP TYPE NAME_letter", "create_type=False"),
    ),
    "an enum with more values": Case(
        table(STATUS),
        table(
            STATUS.replace('"open", "it\'s done"', '"new", "open", "wait: now", "it\'s done", "gone"'),
            "sa.CheckConstraint(\"status <> 'new'\", name='not_new')",
        ),
        (
            "ALTER TYPE NAME_status ADD VALUE IF NOT EXISTS 'new' BEFORE 'open'",
            "ALTER TYPE NAME_status ADD VALUE IF NOT EXISTS 'wait: now' AFTER 'open'",
            "ALTER TYPE NAME_status ADD VALUE IF NOT EXISTS 'gone' AFTER 'it''s done'",
        ),
    ),
    "a text that becomes an enum": Case(
        table('sa.Column("status", sa.Text)'), table(STATUS), ("USING status::text::NAME_status", CREATED, DROPPED)
    ),
    "an enum that becomes a text": Case(
        table(STATUS), table('sa.Column("status", sa.Text)'), ("USING status::text::NAME_status", CREATED, DROPPED)
    ),
    "an enum that nothing needs": Case(table(STATUS, COUNT), table(COUNT), (CREATED, DROPPED)),
    "an enum that goes with its table": Case(table(STATUS), "", (CREATED, DROPPED)),
    "checks that change, come and go": Case(
        table(
            COUNT,
            'sa.CheckConstraint("count > 0", name="counted")',
            'sa.CheckConstraint("count < 10", name="gone")',
            'sa.CheckConstraint("count IN (1,2)", name="the same")',
        ),
        table(
            COUNT,
            STATUS,
            "sa.Column('title', sa.Text)",
            'sa.CheckConstraint("count > 1", name="counted")',
            'sa.CheckConstraint("count = ANY (ARRAY[1, 2])", name="the same")',
            "sa.CheckConstraint(\"status <> 'open' OR title ~ '^[[:alpha:]] :x%'\", name='titled')",
        ),
        (
            "ADD CONSTRAINT NAME_counted_check CHECK ((count > 1)) NOT VALID",
            "VALIDATE CONSTRAINT NAME_counted_check",
            "VALIDATE CONSTRAINT NAME_titled_check",
            "DROP CONSTRAINT NAME_gone_check",
        ),
    ),
    "a check that goes with its column": Case(
        table(COUNT, STATUS, "sa.CheckConstraint(\"status = 'open'\", name='opened')"),
        table(COUNT),
        ("DROP CONSTRAINT NAME_opened_check", DROPPED),
    ),
    "a check of a value that is new": Case(
        table(STATUS, "sa.CheckConstraint(\"status = 'open'\", name='opened')"),
        table(
            STATUS.replace('"open", ', '"open", "late", '),
            "sa.CheckConstraint(\"status IN ('open', 'late')\", name='opened')",
        ),
        ("'late' AFTER 'open'", "CHECK (status IN ('open', 'late')) NOT VALID"),
    ),
    "checks of a partitioned table": Case(
        table(COUNT, 'sa.CheckConstraint("count > 0", name="counted")', 'postgresql_partition_by="HASH (id)"'),
        table(COUNT, 'sa.CheckConstraint("count > 1", name="counted")', 'postgresql_partition_by="HASH (id)"'),
        ("VALIDATE CONSTRAINT NAME_counted_check",),
    ),
    "indexes": Case(
        table(COUNT, 'sa.Index("NAME_gone_idx", "count")'),
        table(
            COUNT,
            'sa.Column("title", sa.Text)',
            'sa.Index("NAME_some_idx", "count", unique=True, postgresql_where=sa.text("count > 0"))',
            'sa.Index("NAME_new_idx", sa.text("lower(title)"))',
        ),
        ("NAME_gone_idx", "NAME_some_idx", "lower(title)"),
    ),
    "an index with its table": Case("", table(COUNT, 'sa.Index("NAME_first_idx", "count")'), ("NAME_first_idx",)),
    "an index of a partitioned table": Case(
        table(COUNT, 'postgresql_partition_by="HASH (id)"'),
        table(COUNT, 'sa.Index("NAME_parts_idx", "count")', 'postgresql_partition_by="HASH (id)"'),
        ("NAME_parts_idx",),
    ),
    "texts that become keys, and no longer": Case(
        table(
            'sa.Column("key", sa.String(9))',
            'sa.Column("other", sa.Text)',
            'sa.Column("no key", sa.String(9, collation="C"))',
            'sa.Column("longer", sa.String(9))',
        ),
        table(
            'sa.Column("key", sa.String(9, collation="C"))',
            'sa.Column("other", sa.Text(collation="C"))',
            'sa.Column("no key", sa.String(9))',
            'sa.Column("longer", sa.String(10, collation="C"))',
        ),
        (
            'ALTER TABLE NAME ALTER COLUMN key TYPE VARCHAR(9) COLLATE "C", ALTER COLUMN other TYPE TEXT COLLATE "C"',
            'ALTER COLUMN "no key" TYPE VARCHAR(9) COLLATE "default"',
            'ALTER COLUMN key TYPE VARCHAR(9) COLLATE "default"',
        ),
    ),
    "a key that becomes an enum": Case(
        table('sa.Column("status", sa.Text(collation="C"))'), table(STATUS), ("USING status::text::NAME_status",)
    ),
    "comments": Case(
        table('sa.Column("count", sa.Integer, comment="how many")', 'sa.Column("a", sa.Text)', 'comment="some"'),
        table(
            'sa.Column("count", sa.Integer, comment="it\'s 100%")',
            'sa.Column("a", sa.Text, comment="new")',
            'sa.Column("b", sa.Text, comment="more")',
        ),
        ("op.drop_table_comment(", 'comment="new"', 'comment="it\'s 100%"', 'comment="more"'),
    ),
}
NAMES = {case: f"table{number}" for number, case in enumerate(CASES)}
# PostgreSQL cannot remove a value of an enum, so the downgrade of these cases keeps the values.
OTHERS = ("CREATE SCHEMA other", "CREATE TYPE others AS ENUM ('a')", "CREATE TABLE other.things (kinds others[])")
"""A type that is needed by a table which is not among the models."""
KEPT = [NAMES["an enum with more values"], NAMES["a check of a value that is new"]]

COMMENTS = """
    SELECT concat_ws(' ', 'comment on', relname, attname, description)
    FROM pg_description JOIN pg_class ON pg_class.oid = objoid AND classoid = 'pg_class'::regclass
    LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid
    WHERE relname LIKE 'table%' ORDER BY 1
"""


class Written(NamedTuple):
    project: Project
    texts: list[str]
    """The files of the second migration."""
    url: str


async def described(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [*await schema(connection), *(row[0] for row in await connection.fetch(COMMENTS))]
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, postgres_server: postgres.Server) -> Iterator[Written]:
    """The project, after an upgrade, a downgrade and another upgrade."""
    project = Project(tmp_path_factory.mktemp("project"))

    def write(which: str) -> None:
        project.models("".join(getattr(CASES[case], which).replace("NAME", name) for case, name in NAMES.items()))
        project.succeed(url, "groundwork.dev.migration", "write", which)

    def migrated(direction: str, revision: str) -> list[str]:
        project.succeed(url, "alembic", direction, revision)
        return asyncio.run(described(url))

    def finds_nothing() -> bool:
        return "No new upgrade operations" in project.succeed(url, "groundwork.dev.migration", "check")

    with postgres_server.database() as url:
        for statement in OTHERS:
            postgres_server.execute(statement, url.rpartition("/")[2])
        write("before")
        (base,) = project.versions.glob("*.py")
        before = migrated("upgrade", "head")
        write("after")
        after = migrated("upgrade", "head")
        assert finds_nothing()
        [revision] = [line.split('"')[1] for line in base.read_text().splitlines() if line.startswith("revision =")]
        down = migrated("downgrade", revision)
        kept = [f"enum {name}_status" for name in KEPT]
        assert {each for each in down if each.split(":")[0] not in kept} == {
            each for each in before if each.split(":")[0] not in kept
        }
        assert {each.split(":")[0] for each in set(before) ^ set(down)} == {*kept}
        assert migrated("upgrade", "head") == after
        assert finds_nothing()
        yield Written(project, [each.read_text() for each in project.files() if each != base], url)


@pytest.mark.parametrize("case", CASES)
def test_what_is_written(written: Written, case: str) -> None:
    everything = "\n".join(written.texts).replace("\\", "")
    for text in CASES[case].writes:
        assert text.replace("NAME", NAMES[case]) in everything


def test_what_needs_a_commit_before_and_after_is_a_migration_of_its_own(written: Written) -> None:
    values, tables, validations, indexes = written.texts
    for text, written_in in (("ADD VALUE", values), ("VALIDATE", validations), ("postgresql_concurrently", indexes)):
        assert [text in each for each in written.texts] == [each is written_in for each in written.texts]
    # The check refuses only the removal of what the running version still needs.
    found = refusals(ScriptDirectory(str(written.project.folder / "migrations")))
    assert {each.path.read_text() for each in found} == {tables}
    assert {each.sentence.partition(".")[0] for each in found} == {
        "The running version may still use it",
        f"CREATE INDEX blocks every write to {NAMES['an index of a partitioned table']} until it is built",
        *(each.sentence.partition(".")[0] for each in found if each.sentence.startswith("Another type may write")),
    }


def test_indexes_of_tables_in_use_are_built_concurrently(written: Written) -> None:
    for name in ("some", "new"):
        built = f"{NAMES['indexes']}_{name}_idx"
        [text] = [each for each in written.texts if f'create_index("{built}"' in re.sub(r"\(\s+", "(", each)]
        assert text == written.texts[-1]
    for case, name in (("an index with its table", "first"), ("an index of a partitioned table", "parts")):
        assert f"{NAMES[case]}_{name}_idx" in written.texts[1]


def test_nothing_is_written_where_nothing_differs(written: Written) -> None:
    before = {*written.project.versions.glob("*.py")}
    output = written.project.succeed(written.url, "groundwork.dev.migration", "write", "nothing")
    assert "nothing is written: the models and the database agree" in output
    assert {*written.project.versions.glob("*.py")} == before


def test_what_stays_the_same_is_left_alone(written: Written) -> None:
    assert "the same" not in "".join(written.texts)
    assert "others" not in "".join(written.texts)

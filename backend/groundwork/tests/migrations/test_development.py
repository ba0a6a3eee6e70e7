"""`make migrate` and `make migration` where the files and the database of development have gone different ways."""

import asyncio
import os
from pathlib import Path

import asyncpg
import pytest

from groundwork.testing.contract.migrations import empty, empty_url, schema
from groundwork.tests.migrations.projects import Project

__all__ = ["empty", "empty_url"]

MIGRATION = "groundwork.dev.migration"
UNKNOWN = "The database is at revision step1, which no file in backend/migrations/versions has: "


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.models("")
    project.add('op.execute("CREATE TABLE things (n int)")')
    project.add("op.execute(\"COMMENT ON TABLE things IS 'one'\")")
    return project


async def comment(connection: asyncpg.Connection) -> str | None:
    text: str | None = await connection.fetchval("SELECT obj_description(to_regclass('things'))")
    return text


async def revision(connection: asyncpg.Connection) -> str | None:
    text: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return text


async def test_a_deleted_file_is_said_last_by_every_command_and_brought_back_it_is_taken_back(
    empty_url: str, empty: asyncpg.Connection, project: Project
) -> None:
    await asyncio.to_thread(project.succeed, empty_url, MIGRATION, "upgrade")
    file = project.versions / "step1.py"
    text = file.read_text()
    file.unlink()
    for arguments in (["upgrade"], ["write", "more"], ["check"], ["downgrade", "1"]):
        done = await asyncio.to_thread(project.run, empty_url, MIGRATION, *arguments)
        assert done.returncode == os.EX_NOINPUT
        assert done.stderr.splitlines()[-1].startswith(UNKNOWN), done.stderr
        assert "make migrate DOWN=1" in done.stderr
        assert "make reset" in done.stderr
        assert "newer than this version" not in done.stderr
        assert "Can't locate" not in done.stdout + done.stderr
    assert [each.name for each in project.files()] == ["step0.py"]
    assert await comment(empty) == "one"
    file.write_text(f"{text}\n\ndef downgrade() -> None:\n    op.execute('COMMENT ON TABLE things IS NULL')\n")
    said = await asyncio.to_thread(project.succeed, empty_url, MIGRATION, "downgrade", "1")
    assert "migrations/versions/step1.py. Next: " in said
    assert (await comment(empty), await revision(empty)) == (None, "step0")


async def test_where_a_deleted_file_leaves_the_schema_unfit_both_are_said(
    empty_url: str, empty: asyncpg.Connection, project: Project
) -> None:
    models = project.folder / "models.py"
    models.write_text("from groundwork.data.tables import metadata\nimport sqlalchemy\n")
    models.write_text(f"{models.read_text()}sqlalchemy.Table('lost', metadata, sqlalchemy.Column('n'))\n")
    await asyncio.to_thread(project.succeed, empty_url, MIGRATION, "upgrade")
    (project.versions / "step1.py").unlink()
    done = await asyncio.to_thread(project.run, empty_url, MIGRATION, "upgrade")
    assert done.returncode == os.EX_SOFTWARE
    assert UNKNOWN in done.stderr
    assert "and lacks lost.*" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("number", "says"),
    [
        ("0", "DOWN must be how many migrations to take back, and is 0: "),
        ("one", "DOWN must be how many migrations to take back, and is one: "),
        ("3", "DOWN must be at most 2: "),
    ],
)
async def test_what_cannot_be_taken_back_is_a_sentence(
    empty_url: str, empty: asyncpg.Connection, project: Project, number: str, says: str
) -> None:
    await asyncio.to_thread(project.succeed, empty_url, MIGRATION, "upgrade")
    done = await asyncio.to_thread(project.run, empty_url, MIGRATION, "downgrade", number)
    assert done.returncode == os.EX_SOFTWARE
    assert done.stderr.startswith(says)
    assert done.stderr.count("\n") == 1
    assert await revision(empty) == "step1"


async def test_in_an_empty_database_nothing_can_be_taken_back(empty_url: str, project: Project) -> None:
    done = await asyncio.to_thread(project.run, empty_url, MIGRATION, "downgrade", "1")
    assert (done.returncode, done.stderr.startswith("No migration has run in this database")) == (os.EX_SOFTWARE, True)


def test_a_database_that_is_away_is_a_sentence(project: Project) -> None:
    for arguments in (["upgrade"], ["write", "more"], ["check"], ["downgrade", "1"]):
        done = project.run("postgresql://user@127.0.0.1:1/none", MIGRATION, *arguments)
        assert done.returncode == os.EX_SOFTWARE
        assert done.stderr.startswith("the database of DATABASE_URL cannot be reached: ")
        assert done.stderr.count("\n") == 1


DUPLICATED = """\
op.execute("CREATE TABLE twins (name text)")
op.execute("INSERT INTO twins VALUES ('ann'), ('ann')")
op.create_unique_constraint("twins_name_key", "twins", ["name"])
"""


async def test_a_failing_migration_is_one_line_in_development_and_in_production(
    empty_url: str, empty: asyncpg.Connection, project: Project
) -> None:
    project.add(DUPLICATED.strip())
    for module, *arguments in ((MIGRATION, "upgrade"), (MIGRATION, "write", "more"), ("alembic", "upgrade", "head")):
        done = await asyncio.to_thread(project.run, empty_url, module, *arguments)
        said = done.stderr if module == MIGRATION else done.stdout
        [line] = [each for each in said.splitlines() if "DETAIL" in each]
        before, _, after = line.partition("DETAIL: ")
        place = 'migrations/versions/step2.py:16: could not create unique index "twins_name_key" '
        assert before == (f"The migration step2 has failed: {place}" if module == MIGRATION else f"FAILED: {place}")
        assert after.startswith("Key (name)=(ann) is duplicated. What was not committed is undone. Mend the migration")
        assert "Traceback" not in done.stdout + done.stderr
        assert done.returncode == (os.EX_DATAERR if module == MIGRATION else 255)
        assert await schema(empty) == []


UNDONE = "What was not committed is undone. Mend the migration, and run it again."


async def test_a_mistake_in_a_migration_is_a_sentence_with_its_line(
    empty_url: str, empty: asyncpg.Connection, project: Project
) -> None:
    project.add('op.execute("CREATE TABLE twins (name text)")\nnothing_such()')
    for arguments in (["upgrade"], ["write", "more"]):
        done = await asyncio.to_thread(project.run, empty_url, MIGRATION, *arguments)
        assert done.returncode == os.EX_DATAERR
        assert done.stderr.splitlines()[-1] == (
            "The migration step2.py has failed: migrations/versions/step2.py:15: nothing_such(): NameError: name"
            f" 'nothing_such' is not defined. {UNDONE}"
        )
        assert "Traceback" not in done.stderr
    assert await schema(empty) == []


async def test_a_mistake_in_what_a_migration_calls_names_both_places(empty_url: str, project: Project) -> None:
    (project.folder / "helpers.py").write_text("def fill(row):\n    return row['name']\n")
    project.add("import helpers\nhelpers.fill({})")
    done = await asyncio.to_thread(project.run, empty_url, MIGRATION, "upgrade")
    assert (
        "step2.py has failed: migrations/versions/step2.py:15, helpers.py:2: return row['name']: KeyError: 'name'. "
        in (done.stderr)
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("import nothing_such", "ModuleNotFoundError: No module named 'nothing_such'."),
        ("{}['name']", "KeyError: 'name'."),
    ],
)
async def test_so_is_one_that_keeps_its_file_from_being_read(
    empty_url: str, project: Project, line: str, says: str
) -> None:
    file = project.versions / f"{project.add('pass')}.py"
    file.write_text(f"{line}\n{file.read_text()}")
    done = await asyncio.to_thread(project.run, empty_url, MIGRATION, "upgrade")
    assert done.returncode == os.EX_DATAERR
    assert (
        done.stderr == f"The migration step2.py has failed: migrations/versions/step2.py:1: {line}: {says} {UNDONE}\n"
    )

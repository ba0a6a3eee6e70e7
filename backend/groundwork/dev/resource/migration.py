"""The migration that creates a resource's table, written by Alembic and taken back by it."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from groundwork.dev.migration import two_heads
from groundwork.dev.resource.errors import ResourceError
from groundwork.serve.maintenance_connection import Unreachable, maintenance_connection
from groundwork.serve.settings import load_settings

VERSIONS = Path("migrations/versions")


def require_one_head() -> None:
    """Refuse two newest migrations. The sentence says how to join them."""
    if sentence := two_heads(ScriptDirectory.from_config(Config("alembic.ini"))):
        raise ResourceError(sentence)


def create(table: str) -> None:
    """Write the migration, as `make migration NAME="create …"` does."""
    run("groundwork.dev.migration", "write", f"create {table}")


def newest(table: str) -> Path | None:
    """The file of the migration that creates the table. None if there is none.

    Raises:
        ResourceError: another migration follows it.
    """
    written = sorted(VERSIONS.glob(f"*_create_{table}.py"))
    if not written:
        return None
    revision = _revision(written[-1].read_text())
    if ScriptDirectory.from_config(Config("alembic.ini")).get_heads() != [revision]:
        raise ResourceError(
            f"Another migration follows backend/{written[-1]}. Leave both, remove the rest of the resource by hand, and"
            f' let make migration NAME="drop {table}" write the one that drops the table.'
        )
    return written[-1]


@contextmanager
def taken_back(table: str, file: Path) -> Iterator[None]:
    """Undo the migration in the database, if it has run there, and remove its file, unless what follows fails.

    Raises:
        ResourceError: the database cannot be reached, the table has rows, or Alembic would write another migration than
            this one.
    """
    try:
        applied, filled = asyncio.run(_state(_revision(file.read_text()), table))
    except Unreachable as error:
        raise ResourceError(str(error)) from error
    if filled:
        raise ResourceError(
            f"The table {table} has rows in this database, and they would be lost: delete them first, or keep the"
            " resource."
        )
    text = file.read_text()
    try:
        if applied:
            run("alembic", "downgrade", "-1")
        file.unlink()
        _require_as_written(table, file, text)
        yield
    except BaseException:
        file.write_text(text)
        if applied:
            run("alembic", "upgrade", "head")
        raise


def _require_as_written(table: str, file: Path, text: str) -> None:
    """Refuse a migration that Alembic would write in another way."""
    create(table)
    [again] = VERSIONS.glob(f"*_create_{table}.py")
    written = again.read_text()
    again.unlink()
    if written.replace(_revision(written), _revision(text)) != text:
        raise ResourceError(
            f"backend/{file} is not what Alembic writes for the model: take the resource out by hand, with what was"
            " added there."
        )


async def _state(revision: str, table: str) -> tuple[bool, bool]:
    """Whether the migration has run in the database, and whether the table has rows there."""
    async with maintenance_connection(load_settings()) as connection:
        there = {
            name: await connection.scalar(sa.select(sa.func.to_regclass(name))) for name in ("alembic_version", table)
        }
        applied = bool(
            there["alembic_version"]
            and await connection.scalar(
                sa.select(
                    sa.exists().where(sa.column("version_num") == revision).select_from(sa.table("alembic_version"))
                )
            )
        )
        filled = bool(there[table] and await connection.scalar(sa.select(sa.exists().select_from(sa.table(table)))))
    return applied, filled


def _revision(text: str) -> str:
    revision: str = re.findall(r'(?m)^revision = "(\w+)"$', text)[0]
    return revision


def run(module: str, *arguments: str) -> None:
    """Run a module in a process of its own, which imports what has just been written.

    Raises:
        ResourceError: it fails. The sentence has what it said.
    """
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        if "Traceback (most recent call last):" in said:
            raise ResourceError(
                f"All files are as they were, because the service would not load: {_told(said)}. Mend that place, then"
                " run the command again."
            )
        raise ResourceError(said)


def _told(traceback: str) -> str:
    """The error that a traceback ends with, and the last line of the project's own that it names."""
    own = re.findall(rf'File "{re.escape(str(Path.cwd()))}/((?:app|tests|migrations)/[^"]+)", line (\d+)', traceback)
    place = f" (backend/{own[-1][0]}, line {own[-1][1]})" if own else ""
    return f"{traceback.splitlines()[-1]}{place}"

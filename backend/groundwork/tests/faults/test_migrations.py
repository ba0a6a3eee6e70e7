"""The schema changes while the old version serves. `tests/migrations` tests runs that are killed half-way."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

from alembic.script import ScriptDirectory

from groundwork.tests import BACKEND
from groundwork.tests.faults.cluster import Cluster
from groundwork.tests.faults.conftest import Say, no_defect
from groundwork.tests.faults.load import Load
from groundwork.tests.process import server

# Each step changes what the prepared statements depend on. Two steps rewrite the table.
STEPS = [
    "ALTER TABLE tasks ADD COLUMN priority integer NOT NULL DEFAULT 0",
    "ALTER TABLE tasks ALTER COLUMN title TYPE text",
    "ALTER TABLE tasks ALTER COLUMN description TYPE varchar(2000)",
    "ALTER TABLE tasks ALTER COLUMN created_at TYPE timestamptz(3)",
    "ALTER TABLE tasks ALTER COLUMN priority TYPE bigint",
    "ALTER TABLE tasks DROP COLUMN priority",
]
MIGRATION = """
from alembic import op

revision = "{revision}"
down_revision = "{down_revision}"


def upgrade():
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("{step}")
"""


def write_migrations(folder: Path) -> None:
    """Write the project's migrations, followed by one for each step."""
    shutil.copytree(BACKEND / "migrations", folder / "migrations")
    shutil.copy(BACKEND / "alembic.ini", folder)
    down_revision = ScriptDirectory(str(folder / "migrations")).get_current_head()
    for number, step in enumerate(STEPS):
        text = MIGRATION.format(revision=f"step{number}", down_revision=down_revision, step=step)
        (folder / f"migrations/versions/step{number}.py").write_text(text)
        down_revision = f"step{number}"


async def upgrade(folder: Path, url: str, revision: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "alembic", "upgrade", revision, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(BACKEND), "DATABASE_URL": url, "DATABASE_DIRECT_URL": ""},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_migrations_while_the_old_version_serves(tmp_path: Path, cluster: Cluster, say: Say) -> None:
    """Each step is run twice at once, as when two replicas are deployed."""
    write_migrations(tmp_path)
    with server.running(tmp_path, DATABASE_URL=cluster.url()) as service:
        async with Load(service.port) as load:
            await load.run(2)
            for number in range(len(STEPS)):
                ended = await asyncio.gather(*(upgrade(tmp_path, cluster.url(), f"step{number}") for _ in range(2)))
                assert [code for code, _ in ended] == [0, 0], ended
            await load.run(2)
        await load.check(cluster.url())
        no_defect(service)
    say(f"{len(STEPS)} migrations, each by two runs at once: {load.describe()}")
    assert set(load.statuses()) == {200, 201}

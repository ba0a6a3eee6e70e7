"""A small project for tests of migrations: its models, its migrations, and the commands on them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from groundwork.tests import BACKEND

ENVIRONMENT = """
from models import metadata
from groundwork.serve.migrations import run

run(metadata)
"""
MODELS = """
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

metadata = sa.MetaData(naming_convention={{"ck": "%(table_name)s_%(constraint_name)s_check"}})
{tables}
"""
MIGRATION = '''
"""{name}"""

import sqlalchemy as sa
from alembic import op

revision = "{name}"
down_revision = {after!r}
LOCK_TIMEOUT = "SET LOCAL lock_timeout = '3s'"


{above}def upgrade() -> None:
    op.execute(LOCK_TIMEOUT)
{steps}
'''


class Project:
    """A project. Its folder has the files of `backend/` that Alembic and the backfills need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.versions = folder / "migrations" / "versions"
        self.versions.mkdir(parents=True)
        (folder / "migrations" / "env.py").write_text(ENVIRONMENT)
        shutil.copy(BACKEND / "migrations" / "script.py.mako", folder / "migrations")
        shutil.copy(BACKEND / "alembic.ini", folder)
        self._newest: str | None = None

    def models(self, tables: str) -> None:
        (self.folder / "models.py").write_text(MODELS.format(tables=tables))

    def add(self, steps: str, *, above: str = "", after: str | None = "newest") -> str:
        """Add a migration with these lines in `upgrade()`. Returns its name."""
        name = f"step{len([*self.versions.glob('*.py')])}"
        lines = "\n".join(f"    {line}" for line in steps.splitlines())
        down = self._newest if after == "newest" else after
        (self.versions / f"{name}.py").write_text(MIGRATION.format(name=name, after=down, above=above, steps=lines))
        self._newest = name
        return name

    def run(self, url: str, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments], cwd=self.folder, text=True, capture_output=True, check=False,
            env={**os.environ, "PYTHONPATH": str(BACKEND), "DATABASE_URL": url, "DATABASE_DIRECT_URL": ""},
        )  # fmt: skip

    def succeed(self, url: str, module: str, *arguments: str) -> str:
        done = self.run(url, module, *arguments)
        assert done.returncode == 0, f"{module} {arguments}:\n{done.stdout}{done.stderr}{self.written()}"
        return done.stdout + done.stderr

    def files(self) -> list[Path]:
        """The migrations, the oldest first."""
        return sorted(self.versions.glob("*.py"), key=lambda path: path.stat().st_mtime_ns)

    def written(self) -> str:
        return "\n".join(each.read_text() for each in self.files())

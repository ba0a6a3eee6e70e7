"""Images of versions of the service that have migrations of their own."""

import shutil
from pathlib import Path

from alembic.script import ScriptDirectory

from groundwork.tests.containers.host import IMAGE
from groundwork.tests.containers.stack import ROOT, docker

BUILT = (
    "Dockerfile",
    "alembic.ini",
    "app",
    "groundwork",
    "expire.py",
    "user_data.py",
    "worker.py",
    "gunicorn.conf.py",
    "serve.py",
    "healthcheck.py",
    "migrations",
    "requirements.txt",
)
MIGRATION = """
from alembic import op

revision = "{revision}"
down_revision = "{down_revision}"


def upgrade():
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("{statement}")
"""
NEXT = ("next", "ALTER TABLE tasks ADD COLUMN priority integer NOT NULL DEFAULT 3")
FAILING = ("failing", "SELECT 1 / 0")


def build(folder: Path, version: str, *migrations: tuple[str, str]) -> None:
    """The image of a version that has these migrations, revision and statement, besides the project's own."""
    for name in BUILT:
        source = ROOT / "backend" / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    down_revision = ScriptDirectory(str(folder / "migrations")).get_current_head()
    for revision, statement in migrations:
        text = MIGRATION.format(revision=revision, down_revision=down_revision, statement=statement)
        (folder / f"migrations/versions/{revision}.py").write_text(text)
        down_revision = revision
    docker("build", "--quiet", "--tag", f"{IMAGE}:{version}", str(folder))

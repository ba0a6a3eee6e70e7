"""How Alembic reaches the database, and what the schema shall be."""

from app.models import metadata
from groundwork.serve.migrations import run

run(metadata)

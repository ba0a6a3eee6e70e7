"""Alembic's environment: the tables of the models, and the way to the database."""

from app.models import metadata
from groundwork.serve.migrations import run

run(metadata)

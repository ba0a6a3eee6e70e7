"""The tables. Every model is imported here, so that Alembic sees all of them."""

from sqlmodel import SQLModel

metadata = SQLModel.metadata
# PostgreSQL's own names, said aloud, so that a migration can name what it drops. It must come before the models.
metadata.naming_convention = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}

from app.models.task import Task  # noqa: E402

__all__ = ["Task", "metadata"]

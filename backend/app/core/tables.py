"""What all tables share."""

from datetime import datetime

from sqlalchemy import DateTime, func
from sqlmodel import Field, SQLModel

metadata = SQLModel.metadata
# PostgreSQL's own names, said aloud, so that a migration can name what it drops. It must come before the models.
metadata.naming_convention = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}


def timestamp() -> datetime:
    """A column with a moment, by default that of the insert."""
    return Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})  # type: ignore[no-any-return]

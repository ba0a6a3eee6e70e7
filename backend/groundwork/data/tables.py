"""What all tables share."""

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, func
from sqlmodel import Field, SQLModel

from groundwork.text import WHITE_SPACE

metadata = SQLModel.metadata
# PostgreSQL's own names, said aloud, so that a migration can name what it drops. It must come before the models.
metadata.naming_convention = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}


_WHITE_SPACE_SQL = "U&'" + "".join(f"\\{ord(character):04X}" for character in WHITE_SPACE) + "'"


def owner_column() -> str:
    """The column `user_id`, by which a row belongs to a user; it begins the primary key.

    So one index serves reads, the newest-first list and its pages, and the table can be partitioned by user.
    """
    return Field(max_length=255, primary_key=True)  # type: ignore[no-any-return]


def not_empty(column: str) -> CheckConstraint:
    """The constraint that a text has at least one character."""
    return CheckConstraint(f"{column} <> ''", name=f"{column}_not_empty")


def stripped(column: str) -> CheckConstraint:
    """The constraint that a text is as the type `TrimmedText` leaves it: not empty, without white space at its ends."""
    condition = f"{column} <> '' AND {column} = btrim({column}, {_WHITE_SPACE_SQL})"
    return CheckConstraint(condition, name=f"{column}_stripped")


def timestamp() -> datetime:
    """A column with a moment, by default that of the insert."""
    return Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})  # type: ignore[no-any-return]

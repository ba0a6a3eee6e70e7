"""Columns, constraints and naming rules that all tables share."""

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, func
from sqlmodel import Field, SQLModel

from groundwork.text import USER_ID_LENGTH, WHITE_SPACE

metadata = SQLModel.metadata
# PostgreSQL's default names. A migration needs them to drop a constraint. Set them before the models are defined.
metadata.naming_convention = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}


_WHITE_SPACE_SQL = "U&'" + "".join(f"\\{ord(character):04X}" for character in WHITE_SPACE) + "'"


def owner_column() -> str:
    """The column `user_id`: the user who owns the row. It must stand before the other primary keys of the model.

    As the first column of the primary key, it lets one index serve single rows and the pages of the newest-first list.
    The table can also be partitioned by it. `ownership.owned()` is the condition on this column.
    """
    return Field(max_length=USER_ID_LENGTH, primary_key=True)  # type: ignore[no-any-return]


def not_empty(column: str) -> CheckConstraint:
    """The constraint that a text has at least one character."""
    return CheckConstraint(f"{column} <> ''", name=f"{column}_not_empty")


def stripped(column: str) -> CheckConstraint:
    """The constraint that a text is not empty and has no white space at its ends, as `TrimmedText` ensures."""
    condition = f"{column} <> '' AND {column} = btrim({column}, {_WHITE_SPACE_SQL})"
    return CheckConstraint(condition, name=f"{column}_stripped")


def timestamp() -> datetime:
    """A column with a point in time, by default the start of the transaction that inserts the row."""
    return Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})  # type: ignore[no-any-return]

"""Columns, constraints and naming rules that all tables share."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, DateTime, String, func
from sqlalchemy.dialects import postgresql
from sqlmodel import Field, SQLModel

from groundwork.data.known_tables import GROUP, OWNER
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


def owner_column(*, through: type[SQLModel] | None = None, **options: Any) -> Any:
    """The column with the owner of a row, a user or a group. `ownership.owned()` is the condition on it.

    It is part of the primary key, and must stand before the other columns of the key. As the first column, it lets one
    index serve single rows and the pages of the newest-first list. The table can also be partitioned by it.

    Args:
        through: the model of the groups' members, which has a `group_column()`. None if the owner is a user.
        options: those of `Field`, such as `foreign_key`.
    """
    if through is None:
        return key_text(USER_ID_LENGTH, primary_key=True, sa_column_kwargs={"info": {OWNER: None}}, **options)
    return Field(primary_key=True, sa_column_kwargs={"info": {OWNER: through}}, **options)


def group_column(**options: Any) -> Any:
    """The column of a model of members with the group. `owner_column()` is the user who is a member of it.

    Args:
        options: those of `Field`, such as `foreign_key`.
    """
    return Field(primary_key=True, sa_column_kwargs={"info": {GROUP: True}}, **options)


def key_text(max_length: int, **options: Any) -> Any:
    """The column of a text that is in a key, a unique constraint or another index. It is compared byte by byte.

    Other texts are compared by the database's collation, often that of the operating system's C library. A new version
    of the library may sort differently. Then an index no longer finds what it holds, and a unique index accepts a text
    twice.

    Args:
        max_length: in characters.
        options: those of `Field`, such as `unique`.
    """
    return Field(max_length=max_length, sa_type=String(max_length, collation="C"), **options)


def _quote(column: str) -> str:
    """The column's name in SQL: in quotation marks if it is one of SQL's own words, such as `group`."""
    return str(postgresql.dialect().identifier_preparer.quote(column))  # type: ignore[no-untyped-call]


def not_empty(column: str) -> CheckConstraint:
    """The constraint that a text has at least one character."""
    return CheckConstraint(f"{_quote(column)} <> ''", name=f"{column}_not_empty")


def stripped(column: str) -> CheckConstraint:
    """The constraint that a text is not empty and has no white space at its ends, as `TrimmedText` ensures."""
    quoted = _quote(column)
    condition = f"{quoted} <> '' AND {quoted} = btrim({quoted}, {_WHITE_SPACE_SQL})"
    return CheckConstraint(condition, name=f"{column}_stripped")


def timestamp() -> datetime:
    """A column with a point in time, by default the start of the transaction that inserts the row."""
    return Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})  # type: ignore[no-any-return]

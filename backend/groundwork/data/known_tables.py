"""The tables that a statement may reach: those of the models, and those that are declared `public` with a reason.

`data.ownership` refuses every other table, because nobody knows whose rows it holds.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

from sqlalchemy import Column, MetaData, String, Table, TableClause
from sqlmodel import SQLModel

Source = TypeVar("Source", bound=TableClause)

OWNER_COLUMN = "user_id"
"""The name of the column that says which user owns a row. A table that has it is owned."""

PROBE = Table("guard_probe", MetaData(), Column(OWNER_COLUMN, String), Column("value", String))
"""An owned table that is in no database. `data.guard_check` tries the guard with it."""

_reasons: dict[Any, str] = {}


def public(source: Source, *, reason: str) -> Source:
    """Declare that a table holds no user's rows, so that statements may reach it without an owner.

    Args:
        source: the table. The declaration holds for this object, not for another one of the same name.
        reason: a sentence that says why no row belongs to a user. It is for the reader of the code.

    Returns:
        The table.

    Raises:
        TypeError: the table has a column `user_id`, or the reason is empty.
    """
    if has_owner_column(source):
        raise TypeError(f"{source} has a column {OWNER_COLUMN}: its rows belong to users, so it cannot be public")
    if not reason:
        raise TypeError(f"say in a sentence why no row of {source} belongs to a user")
    _reasons[source] = reason
    return source


def is_known(source: Any) -> bool:
    """Whether this very object is the table of a model, or was declared `public`."""
    return source in _reasons or source in (PROBE, *_tables_named(source.name))


def is_owned(source: Any) -> bool:
    """Whether the rows belong to users. Every table with the name of an owned table is owned too, in any schema."""
    if not isinstance(source, TableClause):
        return False
    return has_owner_column(source) or any(has_owner_column(each) for each in _tables_named(source.name))


def has_owner_column(source: TableClause) -> bool:
    """Whether the table has the column `user_id`, by its name or by its key in Python."""
    return any(OWNER_COLUMN in (column.name.lower(), column.key) for column in source.c)


def _tables_named(name: str) -> list[Table]:
    """The models' tables of this name, in every schema."""
    metadatas = {id(metadata): metadata for metadata in _metadatas(SQLModel)}
    return [
        table
        for metadata in metadatas.values()
        for table in metadata.tables.values()
        if table.name.lower() == name.lower()
    ]


def _metadatas(model: type[SQLModel]) -> Iterator[MetaData]:
    yield model.metadata
    for each in model.__subclasses__():
        yield from _metadatas(each)

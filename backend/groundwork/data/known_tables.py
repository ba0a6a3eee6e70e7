"""The tables that a statement may reach, and whose rows they hold.

A table is owned by users, or by groups of users, or it is declared `public` with a reason. `data.guard_compiler`
refuses every other table, because nobody knows whose rows it holds.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Column, MetaData, String, Table, TableClause
from sqlalchemy.sql.selectable import FromClauseAlias
from sqlmodel import SQLModel

Source = TypeVar("Source")

OWNER_COLUMN = "user_id"
"""The name of the column that says which user owns a row, in a table that declares no other."""

OWNER, GROUP = "owner", "group"
"""The keys of a column's `info` by which a model declares its owner and its group."""

PROBE = Table("guard_probe", MetaData(), Column(OWNER_COLUMN, String), Column("value", String))
"""An owned table that is in no database. `data.guard_check` tries the guard with it."""


class Owner(NamedTuple):
    """The column of a table that says who owns a row."""

    column: str
    """The name of the column with the id of the user or of the group."""
    members: Table | None = None
    """The table whose rows are the groups' members. None if the owner is a user."""


public_tables: dict[Any, str] = {}
"""The tables that are declared `public`, with their reasons."""


def public(source: Source, *, reason: str) -> Source:
    """Declare that a table holds no user's rows, so that statements may reach it without an owner.

    Args:
        source: the model or the table. The declaration holds for this object, not for another one of the same name.
        reason: a sentence that says why no row belongs to a user. It is for the reader of the code.

    Returns:
        The model or the table, so that `public` can stand around it.

    Raises:
        TypeError: the table has an owner, or the reason is empty.
    """
    table: Any = getattr(source, "__table__", source)
    if owner := _declared(table):
        raise TypeError(
            f"{table} has a column {owner.column}: its rows belong to users, so it cannot be public: leave out public()"
        )
    if not reason:
        raise TypeError(f"say in a sentence why no row of {table} belongs to a user")
    public_tables[table] = reason
    return source


def is_known(source: Any) -> bool:
    """Whether this very object is the table of a model, or was declared `public`."""
    return source in public_tables or source in (PROBE, *_tables_named(source.name))


def owner_of(source: Any) -> Owner | None:
    """The owner of the rows of a table or of its alias. None if they have no owner.

    Every table with the name of an owned table is owned too, in any schema.
    """
    table = table_of(source)
    if not isinstance(table, TableClause):
        return None
    found = (_declared(each) for each in (table, *_tables_named(table.name)))
    return next((owner for owner in found if owner), None)


def is_owned(source: Any) -> bool:
    """Whether the rows belong to users or to groups of users."""
    return owner_of(source) is not None


def group_column(source: Any) -> str | None:
    """The name of the column with the group, if the rows of the table or of its alias are the members of groups."""
    columns = getattr(table_of(source), "c", ())
    return next((column.name for column in columns if _info(column).get(GROUP)), None)


def table_of(source: Any) -> Any:
    """The source that an alias or a TABLESAMPLE stands for."""
    while isinstance(source, FromClauseAlias):
        source = source.element
    return source


def _declared(table: TableClause) -> Owner | None:
    for column in table.c:
        if OWNER in _info(column):
            return Owner(column.name, getattr(_info(column)[OWNER], "__table__", None))
    return next((Owner(each.name) for each in table.c if OWNER_COLUMN in (each.name.lower(), each.key)), None)


def _info(column: Any) -> dict[Any, Any]:
    """The `info` that a model gives to a column. Empty for a column without a table."""
    return column.info if isinstance(column, Column) else {}


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

"""Which tables a statement may reach: those of the models, and those that are declared `public`, with a reason.

Nobody can see whose rows another one holds: `core.ownership` refuses it, by whatever name and schema it is given.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

from sqlalchemy import Column, MetaData, String, Table, TableClause
from sqlmodel import SQLModel

Source = TypeVar("Source", bound=TableClause)

OWNER_COLUMN = "user_id"
PROBE = Table("guard_probe", MetaData(), Column(OWNER_COLUMN, String), Column("value", String))
"""An owned table that is in no database: `core.guard_check` tries the guard with it."""

_reasons: dict[Any, str] = {}


def public(source: Source, *, reason: str) -> Source:
    """Declare that a table holds no user's rows; `reason` says why, to whoever reads the declaration.

    Raises:
        TypeError: the table has a column `user_id`, or there is no reason.
    """
    if has_owner_column(source):
        raise TypeError(f"{source} has a column {OWNER_COLUMN}: its rows belong to users, so it cannot be public")
    if not reason:
        raise TypeError(f"say in a sentence why no row of {source} belongs to a user")
    _reasons[source] = reason
    return source


def is_known(source: Any) -> bool:
    """Whether a model describes the table, or it is declared public: this very object, not one of the same name."""
    return source in _reasons or source in (PROBE, *_tables_named(source.name))


def is_owned(source: Any) -> bool:
    """Whether its rows belong to users. A second description of an owned table, in any schema, is owned too."""
    if not isinstance(source, TableClause):
        return False
    return has_owner_column(source) or any(has_owner_column(each) for each in _tables_named(source.name))


def has_owner_column(source: TableClause) -> bool:
    return any(OWNER_COLUMN in (column.name.lower(), column.key) for column in source.c)


def _tables_named(name: str) -> list[Table]:
    """Those of all models, in every schema."""
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

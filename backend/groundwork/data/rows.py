"""Parts of statements that all resources share. A resource's rows belong to users and have ids made by `ids`."""

from typing import Any, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Index, Integer, UniqueConstraint, and_, bindparam, inspect, or_
from sqlmodel import col

from groundwork.data.ownership import OWNER_ID, owned
from groundwork.errors import NotFound

Found = TypeVar("Found")

LIMIT = bindparam("limit", type_=Integer)
"""The parameter `limit`: how many rows a statement returns at most."""


class Identified(Protocol):
    """A model whose rows have an owner and an id."""

    user_id: str
    id: UUID


def owned_row(model: type[Identified]) -> ColumnElement[bool]:
    """The condition that a row belongs to the parameter `owner` and has the id in the parameter `id`."""
    return and_(owned(model), col(model.id) == bindparam("id"))


def before_cursor(model: type[Identified]) -> ColumnElement[bool]:
    """The condition that a row was created before the row whose id is the parameter `before`."""
    return col(model.id) < bindparam("before")


def optional_equals(column: Any) -> ColumnElement[bool]:
    """The condition that a column equals the parameter of its name. If the parameter is None, the condition holds.

    Raises:
        TypeError: the column has an index. PostgreSQL plans the statement once for all values, so it would not use it.
    """
    keys = (*column.table.indexes, *column.table.constraints)
    if any(column.key in key.columns for key in keys if isinstance(key, Index | UniqueConstraint)):
        raise TypeError(
            f"{column.table.name}.{column.key} has an index, which an optional condition cannot use: write one"
            " statement with the condition and one without, and run the one that fits"
        )
    value = bindparam(column.key, type_=column.type)
    return or_(value.is_(None), column == value)


def insert_values(model: type[Identified]) -> dict[str, Any]:
    """The values of an insert: each column is set from the parameter of its name.

    `user_id` is set from the parameter `owner`, and `updated_at` from `created_at`.
    """
    values: dict[str, Any] = {column.key: bindparam(column.key) for column in inspect(model).columns}
    return {**values, "user_id": OWNER_ID, "updated_at": bindparam("created_at")}


def require_found(row: Found | None, model: type[Identified]) -> Found:
    """The row, if there is one.

    Raises:
        NotFound: there is no row. The message names the model.
    """
    if row is None:
        raise NotFound(f"{model.__name__} not found.")
    return row

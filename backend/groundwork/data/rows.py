"""What the statements of all resources have in common. A resource's rows belong to users and have ids of `core.ids`."""

from typing import Any, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, and_, bindparam, inspect, or_
from sqlmodel import col

from groundwork.data.ownership import OWNER_ID, owned
from groundwork.errors import NotFound

Found = TypeVar("Found")

LIMIT = bindparam("limit", type_=Integer)


class Identified(Protocol):
    user_id: str
    id: UUID


def owned_row(model: type[Identified]) -> ColumnElement[bool]:
    """The condition that a row is the owner's one with the `id` that the statement is given."""
    return and_(owned(model), col(model.id) == bindparam("id"))


def before_cursor(model: type[Identified]) -> ColumnElement[bool]:
    """The condition that a row was made before the one whose id is given as `before`."""
    return col(model.id) < bindparam("before")


def optional_equals(column: Any) -> ColumnElement[bool]:
    """The condition that the column has the value that is given by its name; None stands for any."""
    value = bindparam(column.key, type_=column.type)
    return or_(value.is_(None), column == value)


def insert_values(model: type[Identified]) -> dict[str, Any]:
    """What an insert writes: the values that are given by the columns' names. At first nothing has changed."""
    values: dict[str, Any] = {column.key: bindparam(column.key) for column in inspect(model).columns}
    return {**values, "user_id": OWNER_ID, "updated_at": bindparam("created_at")}


def require_found(row: Found | None, model: type[Identified]) -> Found:
    """
    Raises:
        NotFound: there is no row.
    """
    if row is None:
        raise NotFound(f"{model.__name__} not found.")
    return row

"""Parts of statements that all resources share. A resource's rows have an owner, and ids made by `ids`."""

import re
from typing import Any, Protocol, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import SQLModel, col

from groundwork.data.known_tables import group_column, owner_of
from groundwork.data.ownership import OWNER_ID, Role, column_named, own_membership, owned
from groundwork.errors import NotFound

Found = TypeVar("Found")
_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

LIMIT = sa.bindparam("limit", type_=sa.Integer)
"""The parameter `limit`: how many rows a statement returns at most."""


class Identified(Protocol):
    """A model or a representation whose rows have an id."""

    id: UUID


def owned_row(model: type[Identified], *, role: Role = None) -> sa.ColumnElement[bool]:
    """The condition that a row belongs to the parameter `owner` and has the id in the parameter `id`.

    For a group's rows, add a condition on the group's column, because the primary key begins with it.

    Args:
        model: the model of the row.
        role: as in `owned`.
    """
    return sa.and_(owned(model, role=role), col(model.id) == sa.bindparam("id"))


def before_cursor(model: type[Identified]) -> sa.ColumnElement[bool]:
    """The condition that a row was created before the row whose id is the parameter `before`."""
    return col(model.id) < sa.bindparam("before")


def optional_equals(column: Any) -> sa.ColumnElement[bool]:
    """The condition that a column equals the parameter of its name. If the parameter is None, the condition holds.

    Raises:
        TypeError: the column has an index. PostgreSQL plans the statement once for all values, so it would not use it.
    """
    keys = (*column.table.indexes, *column.table.constraints)
    if any(column.key in key.columns for key in keys if isinstance(key, sa.Index | sa.UniqueConstraint)):
        raise TypeError(
            f"{column.table.name}.{column.key} has an index, which an optional condition cannot use: write one"
            " statement with the condition and one without, and run the one that fits"
        )
    value = sa.bindparam(column.key, type_=column.type)
    # PostgreSQL cannot tell the type of `$1 IS NULL`, and SQLAlchemy names no type of enumerations and citext.
    return sa.or_(sa.cast(value, column.type).is_(None), column == value)


def insert_values(model: type[Identified]) -> dict[str, Any]:
    """The values of an insert: each column is set from the parameter of its name.

    `user_id` is set from the parameter `owner`, and `updated_at` from `created_at`.
    """
    return {**_parameters(sa.inspect(model).local_table), "user_id": OWNER_ID}


def insert_for_member(model: type[SQLModel], *, role: Role = None, **values: Any) -> Any:
    """An insert of a row for a group. It inserts nothing if the parameter `owner` is no member of the group.

    Each column is set from the parameter of its name, including the group's, or to its value in `values`.
    `on_conflict_do_update(index_elements=[…])` may follow, if the group's column is among the elements.

    Args:
        model: its `owner_column` or `group_column` names the group.
        role: the role that the user must have in the group, or several of which one is enough.

    Raises:
        TypeError: no group owns the model's rows.
    """
    table: sa.Table = sa.inspect(model).local_table
    owner, own_group = owner_of(table), group_column(table)
    members = table if own_group else owner.members if owner else None
    if members is None or owner is None:
        raise TypeError(f"no group owns the rows of {table}: use insert()")
    member = members.alias()
    name = own_group or owner.column
    group = column_named(member, str(group_column(member)))
    set_ = {**_parameters(table), **values}
    key = column_named(table, name).key
    taken = [group if column == key else value for column, value in set_.items()]
    chosen = sa.select(*taken).where(group == set_[key], *own_membership(member, role))
    return insert(table).from_select(list(set_), chosen, include_defaults=False)


def insert_group(model: type[SQLModel], membership: type[SQLModel], **values: Any) -> Any:
    """An insert of a new group, with the parameter `owner` as its first member. It returns the group's columns.

    Each column of the group is set from the parameter of its name.

    Args:
        model: the groups. Its `owner_column(through=membership)` is its primary key.
        membership: the model of the members.
        values: the other columns of the membership, such as its role.
    """
    table: sa.Table = sa.inspect(model).local_table
    members: sa.Table = sa.inspect(membership).local_table
    owner, user = owner_of(table), owner_of(members)
    if owner is None or user is None:
        raise TypeError(f"{table} or {members} has no owner_column(): add it to the model")
    created = sa.insert(table).values(_parameters(table)).returning(table).cte("created")
    first = {str(group_column(members)): created.c[column_named(table, owner.column).key], user.column: OWNER_ID}
    typed = {name: sa.bindparam(None, value, type_=members.c[name].type) for name, value in values.items()}
    row = {**first, **typed}
    joined = sa.insert(members).from_select(list(row), sa.select(*row.values()), include_defaults=False)
    return sa.select(created).add_cte(joined.cte("joined"))


def _parameters(table: sa.Table) -> dict[str, Any]:
    """Each column's parameter. `updated_at` is set from `created_at`."""
    named = {column.key: sa.bindparam(column.key, type_=column.type) for column in table.c}
    if "updated_at" in named and "created_at" in named:
        named["updated_at"] = named["created_at"]
    return named


def require_found(row: Found | None, model: type[Identified]) -> Found:
    """The row, if there is one.

    Raises:
        NotFound: there is no row. The message names the model, in words: "Order line not found."
    """
    if row is None:
        raise NotFound(f"{_WORD_BEGINS.sub(' ', model.__name__).capitalize()} not found.")
    return row

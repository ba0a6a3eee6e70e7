"""Whose rows a statement reaches: the conditions that `data.guard_compiler` asks for.

A table with the column of `tables.owner_column()` is owned by users. With `owner_column(through=Membership)` it is
owned by groups of users, whose members are the rows of `Membership`. Every `Statement` on an owned table must hold the
condition `owned(Model)`. The user's id is passed when the statement runs: `database.one(STATEMENT, owner=user_id)`.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, String, bindparam, exists, inspect, or_, select

from groundwork.data.known_tables import group_column, owner_of, table_of
from groundwork.text import USER_ID_LENGTH

OWNER_ID: BindParameter[str] = bindparam("owner", type_=String(USER_ID_LENGTH))
"""The parameter `owner` of a statement: the id of the user for whom it runs. An insert sets the owner to it."""

Role = str | Collection[str] | None


def owned(model: Any, *, role: Role = None) -> ColumnElement[bool]:
    """The condition that a row belongs to the user for whom the statement runs, or to a group with this user.

    Args:
        model: a model or its alias. The condition belongs in `where()`, or in the ON of an outer join of the model.
        role: the role that the user must have in the group, or several of which one is enough. It is compared with the
            membership's column `role`.

    Raises:
        TypeError: the model's rows belong to nobody, or a role is asked for where the owner is a user.
    """
    source = source_of(model)
    owner = owner_of(source)
    if owner is None:
        raise TypeError(f"the rows of {table_of(source)} belong to nobody: declare their owner with owner_column()")
    if owner.members is not None:
        return _is_member(column_named(source, owner.column), owner.members, role)
    if role is not None:
        raise TypeError(f"{table_of(source)} is owned by users, who have no role: leave the role out")
    is_users: ColumnElement[bool] = column_named(source, owner.column) == OWNER_ID
    return is_users


def fellows(membership: Any, *, role: Role = None) -> ColumnElement[bool]:
    """The condition that a membership belongs to a group of which the statement's user is a member too.

    `owned(Membership)` chooses only the user's own memberships.

    Args:
        membership: the model of the members, or an alias of it.
        role: the role of the user, as in `owned`.

    Raises:
        TypeError: the model has no `group_column()`.
    """
    source = source_of(membership)
    group = group_column(source)
    if group is None:
        raise TypeError(f"{table_of(source)} is no table of members: declare its group with group_column()")
    return _is_member(column_named(source, group), table_of(source), role)


def own_membership(members: Any, role: Role = None) -> list[ColumnElement[bool]]:
    """The conditions that a row of a table of members is the user's, with the role if one is asked for."""
    owner = owner_of(members)
    if owner is None or owner.members is not None or group_column(members) is None:
        raise TypeError(f"{table_of(members)} is no table of members: it needs owner_column() and group_column()")
    conditions = [column_named(members, owner.column) == OWNER_ID]
    if role is not None:
        wanted = [role] if isinstance(role, str) else [*role]
        if not wanted:
            raise TypeError("no role is named: leave the role out if any will do")
        conditions.append(or_(*(column_named(members, "role") == each for each in wanted)))
    return conditions


def source_of(model: Any) -> Any:
    """The table of a model, or the alias of the table."""
    return inspect(model).selectable


def column_named(source: Any, name: str) -> Any:
    """The column with this name in the database. Its key in Python can differ."""
    return next(column for column in source.c if column.name == name)


def _is_member(group: ColumnElement[Any], members: Any, role: Role) -> ColumnElement[bool]:
    # An alias, because the statement may also hold the table of members itself.
    member = members.alias()
    theirs = column_named(member, str(group_column(members)))
    return exists(select(theirs).where(*own_membership(member, role), theirs == group))

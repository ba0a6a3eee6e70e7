"""Checks what a statement writes: an insert must set the right owner, and an update must not change the owner."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Column, ColumnElement, Insert, TableClause
from sqlalchemy.dialects.postgresql.dml import OnConflictDoUpdate
from sqlalchemy.sql.selectable import CTE

from groundwork.data.guarded import guarded_members, unguarded
from groundwork.data.known_tables import Owner, group_column, owner_of, table_of
from groundwork.data.ownership import OWNER_ID, column_named


def require_owner(sources: Iterable[Any], criteria: Iterable[Any]) -> None:
    """Check that a condition guards each owned table in FROM.

    Raises:
        TypeError: no condition guards one of them.
    """
    for source in unguarded(sources, criteria):
        raise TypeError(
            f"{source} is owned by users: add owned(Model) to the statement's where(), or to the ON of an outer join;"
            " for an alias, owned(alias)"
        )


def require_owner_in_insert(statement: Insert) -> None:
    """Check that the rows which an insert writes belong to the user, or to a group where the user is a member.

    Raises:
        TypeError: they could belong to somebody else.
    """
    table = statement.table
    owner, group = owner_of(table), group_column(table)
    if owner is None:
        return
    rows = _rows(statement)
    if group is not None:
        # The row adds a user to a group. That user may be anybody, but the group must be one of the user's who adds.
        if not all(_is_group(_value(table, row, group), table, statement) for row in rows):
            raise TypeError(
                f"insert into {table} must take {group} from a membership of the user, or from the insert of a new"
                " group: use insert_for_member() or insert_group()"
            )
    elif owner.members is None:
        if not all(_value(table, row, owner.column) is OWNER_ID for row in rows):
            raise TypeError(f"insert into {table} must set {owner.column}=OWNER_ID")
    elif not _is_new_group(table, owner) and not all(
        _is_group(_value(table, row, owner.column), owner.members, statement) for row in rows
    ):
        raise TypeError(
            f"insert into {table} must take {owner.column} from a membership of the user: use insert_for_member()"
        )
    conflict = statement._post_values_clause
    if isinstance(conflict, OnConflictDoUpdate):
        if not _meets_own_group(table, owner, conflict):
            require_owner([table], [conflict.update_whereclause])
        refuse_new_owner(table, conflict.update_values_to_set)


def refuse_new_owner(table: Any, values: Mapping[Any, Any] | None) -> None:
    """Check that an update does not change the owner. Without values(), it would write every column, the owner's too.

    Raises:
        TypeError: it may change the owner.
    """
    owner = owner_of(table)
    if owner is None:
        return
    for column in filter(None, (owner.column, group_column(table))):
        value = _value(table, values, column) if values else column
        if value is not None and not (value is OWNER_ID and owner.members is None):
            raise TypeError(
                f"an update must not change {column}, the owner of a row of {table}: name the other columns in values()"
            )


def _meets_own_group(table: Any, owner: Owner, conflict: OnConflictDoUpdate) -> bool:
    """Whether an upsert can only meet a row of the same group as the inserted row, whose group is checked already.

    `owned()` cannot stand in the upsert's WHERE: SQLAlchemy would not correlate the membership with the row.
    """
    if _is_new_group(table, owner):
        return False
    column = group_column(table) or (owner.column if owner.members is not None else None)
    target: Iterable[Any] = conflict.inferred_target_elements or ()
    return column in [getattr(each, "name", each) for each in target]


def _rows(statement: Insert) -> list[Mapping[Any, Any]]:
    """Each row that an insert writes, as a mapping of columns to values. It is empty if the values are not known."""
    if statement.select is not None:
        names, values = statement._select_names or (), getattr(statement.select, "_raw_columns", ())
        # A table or `*` stands for several columns, so the positions of the other values would be unknown.
        if len(names) != len(values) or not all(map(_is_one_column, values)):
            return [{}]
        return [dict(zip(names, values, strict=True))]
    several = [row for rows in statement._multi_values for row in rows]
    return [row if isinstance(row, Mapping) else {} for row in several] or [statement._values or {}]


def _is_one_column(value: Any) -> bool:
    return isinstance(value, ColumnElement) and not getattr(value, "is_literal", False)


def _value(table: Any, row: Mapping[Any, Any], column: str) -> Any:
    """The value that a row gives to the column of this name. A text in the row is the key of a column in Python."""
    for key, value in row.items():
        named = table.c.get(key, key) if isinstance(key, str) else key
        if getattr(named, "name", named) == column:
            return value
    return None


def _is_group(value: Any, members: Any, statement: Insert) -> bool:
    """Whether an inserted value is the id of a group of the user, or of a group that the same statement makes."""
    source = getattr(value, "table", None)
    if isinstance(source, CTE) and isinstance(source.element, Insert):
        made, owner = source.element.table, owner_of(source.element.table)
        # A label could give the name of the group's column to any value.
        is_plain = all(isinstance(each, Column | TableClause) for each in source.element._returning)
        if owner is None or owner.members is not members or not _is_new_group(made, owner):
            return False
        return is_plain and bool(value.name == owner.column)
    is_own = table_of(source) is members and source in guarded_members(statement.select)
    return is_own and bool(value.name == group_column(source))


def _is_new_group(table: Any, owner: Owner) -> bool:
    """Whether the rows of the table are the groups themselves, so that an insert makes a new group.

    Another table with the same primary key may have one row for each group. The foreign key of the members tells which
    of the two holds the groups.
    """
    if owner.members is None or [column.name for column in table.primary_key] != [owner.column]:
        return False
    group = column_named(owner.members, str(group_column(owner.members)))
    targets = [each.target_fullname for each in group.foreign_keys]
    key = column_named(table, owner.column)
    return f"{table.fullname}.{key.name}" in targets if targets else not key.foreign_keys

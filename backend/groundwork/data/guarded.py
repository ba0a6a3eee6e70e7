"""Finds the guarded tables and aliases of a statement: those whose rows a condition limits to the user's."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, Exists
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList, Grouping
from sqlalchemy.sql.operators import and_, eq
from sqlalchemy.sql.selectable import FromGrouping, Join, Select

from groundwork.data.known_tables import group_column, is_owned, owner_of, table_of
from groundwork.data.ownership import OWNER_ID


def unguarded(sources: Iterable[Any], criteria: Iterable[Any]) -> list[Any]:
    """The owned tables and aliases among the sources that no condition guards.

    Args:
        sources: the sources in FROM. A subquery is passed over: it is checked when it is compiled itself.
        criteria: the conditions of WHERE.
    """
    guarded = _guarded(criteria)
    return [each for source in sources for each in _unguarded(source, guarded)]


def guarded_members(select: Any) -> set[Any]:
    """The tables of members, and their aliases, that a select limits to the user's own memberships."""
    if not isinstance(select, Select):
        return set()
    return {each for each in _guarded(select._where_criteria) if group_column(each) and _by_user(each)}


def _unguarded(source: Any, guarded: set[Any]) -> list[Any]:
    while isinstance(source, FromGrouping):  # a join in parentheses
        source = source.element
    if not isinstance(source, Join):
        return [source] if is_owned(source) and source not in guarded else []
    # An outer join keeps all rows of one side, or of both, whatever its ON says. So ON does not guard that side.
    joined = guarded if source.full else guarded | _guarded([source.onclause])
    kept = guarded if source.isouter or source.full else joined
    return _unguarded(source.left, kept) + _unguarded(source.right, joined)


def _guarded(criteria: Iterable[Any]) -> set[Any]:
    found = (_guarded_by(condition) for condition in _conditions(criteria))
    return {source for source in found if source is not None}


def _conditions(criteria: Iterable[Any]) -> list[Any]:
    """The conditions that must all hold. A condition below an OR or a NOT guards nothing."""
    pending = list(criteria)
    conditions = []
    while pending:
        condition = pending.pop()
        while isinstance(condition, Grouping):
            condition = condition.element
        if isinstance(condition, BooleanClauseList) and condition.operator is and_:
            pending += condition.clauses
        else:
            conditions.append(condition)
    return conditions


def _guarded_by(condition: Any) -> Any:
    """The table or alias whose rows the condition limits to the user's. None if there is none."""
    if isinstance(condition, Exists):
        return _guarded_by_membership(condition)
    if not _is_equality(condition) or condition.right is not OWNER_ID:
        return None
    source = getattr(condition.left, "table", None)
    owner = owner_of(source)
    is_owner = owner and owner.members is None and owner.column == condition.left.name
    return source if is_owner else None


def _guarded_by_membership(condition: Exists) -> Any:
    """As `_guarded_by`, for a condition EXISTS that finds a membership of the user in the row's group."""
    select: Any = getattr(condition.element, "element", None)
    members = guarded_members(select)
    if not members or not _only_finds_rows(select):
        return None
    guarded_inside = _guarded(select._where_criteria)
    for each in filter(_is_equality, _conditions(select._where_criteria)):
        member, source = (getattr(side, "table", None) for side in (each.left, each.right))
        is_membership = member in members and each.left.name == group_column(member)
        # A source that is guarded inside EXISTS may be another scan of the same table. Then the condition says nothing
        # about the row outside.
        if is_membership and source not in guarded_inside and _has_group(source, each.right.name, table_of(member)):
            return source
    return None


def _only_finds_rows(select: Any) -> bool:
    """Whether the select returns no row when its WHERE matches none. An aggregate would return one."""
    has_joins = select._from_obj or select._setup_joins
    return not (has_joins or select._having_criteria) and all(isinstance(each, Column) for each in select._raw_columns)


def _has_group(source: Any, name: str, members: Any) -> bool:
    """Whether the column of this name holds a row's group, and `members` are the members of such groups."""
    if table_of(source) is members and group_column(source) == name:
        return True
    owner = owner_of(source)
    return owner is not None and owner.members is members and owner.column == name


def _by_user(source: Any) -> bool:
    owner = owner_of(source)
    return owner is not None and owner.members is None


def _is_equality(condition: Any) -> bool:
    return isinstance(condition, BinaryExpression) and condition.operator is eq

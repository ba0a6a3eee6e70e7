"""The one door to a user's rows.

A table with a `user_id` column is owned: `core.statement` refuses, at import, every statement that reaches its rows
without `owned(Model)` (or, to insert, without `user_id=OWNER`). The user's id itself is given when the statement runs:
`database.one(STATEMENT, owner=user_id, ...)`.
"""

from typing import Any, Protocol

from sqlalchemy import BindParameter, ColumnElement, Delete, Insert, Select, String, Table, Update, bindparam
from sqlalchemy.sql import ClauseElement, visitors
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList
from sqlalchemy.sql.operators import and_, eq
from sqlalchemy.sql.selectable import AliasedReturnsRows, Join
from sqlmodel import col

OWNER: BindParameter[str] = bindparam("owner", type_=String(255))
_COLUMN = "user_id"


class _Owned(Protocol):
    user_id: str


def owned(model: type[_Owned]) -> ColumnElement[bool]:
    """The condition that a row of this table belongs to the user for whom the statement runs."""
    return col(model.user_id) == OWNER


def require_owner(statement: ClauseElement) -> None:
    """Refuse a statement that could touch rows of more than its owner.

    Raises:
        TypeError: an owned table stands in it without the condition that `owned` makes.
    """
    for clause in visitors.iterate(statement):
        if isinstance(clause, AliasedReturnsRows) and isinstance(clause.element, Table) and _is_owned(clause.element):
            raise TypeError(f"{clause.element.name} is owned by users: an alias of it would slip past the owner's door")
        if isinstance(clause, Insert):
            _require_owner_in_values(clause)
        elif isinstance(clause, Select | Update | Delete):
            _require_owner_in_where(clause)


def _is_owned(table: Any) -> bool:
    return isinstance(table, Table) and _COLUMN in table.c


def _require_owner_in_values(statement: Insert) -> None:
    if not _is_owned(statement.table):
        return
    values = {getattr(column, "key", column): value for column, value in (statement._values or {}).items()}
    if values.get(_COLUMN) is not OWNER:
        raise TypeError(f"insert into {statement.table} must say user_id=OWNER")


def _require_owner_in_where(statement: Select[Any] | Update | Delete) -> None:
    guarded = {condition.left.table for condition in _conditions(statement) if _names_owner(condition)}
    for table in _tables(statement):
        if _is_owned(table) and table not in guarded:
            raise TypeError(f"{table} is owned by users: add owned(Model) to the statement's where()")


def _tables(statement: Select[Any] | Update | Delete) -> list[Any]:
    """Every table whose rows the statement reads or writes directly; subqueries are visited on their own."""
    sources: list[Any] = (
        list(statement.get_final_froms()) if isinstance(statement, Select) else [statement.table, *_extra_froms(statement)]
    )
    tables = []
    while sources:
        source = sources.pop()
        if isinstance(source, Join):
            sources += [source.left, source.right]
        else:
            tables.append(source)
    return tables


def _extra_froms(statement: Update | Delete) -> list[Any]:
    """The tables of UPDATE … FROM and DELETE … USING, which SQLAlchemy collects from the conditions."""
    return [
        clause.table
        for condition in _conditions(statement)
        for clause in visitors.iterate(condition)
        if getattr(clause, "table", None) is not None and clause.__visit_name__ == "column"
    ]


def _conditions(statement: Select[Any] | Update | Delete) -> list[Any]:
    """The conditions that must all hold: what stands below an OR or a NOT guards nothing."""
    pending: list[Any] = list(statement._where_criteria)
    conditions = []
    while pending:
        condition = pending.pop()
        if isinstance(condition, BooleanClauseList) and condition.operator is and_:
            pending += condition.clauses
        else:
            conditions.append(condition)
    return conditions


def _names_owner(condition: Any) -> bool:
    return (
        isinstance(condition, BinaryExpression)
        and condition.operator is eq
        and getattr(condition.left, "key", None) == _COLUMN
        and condition.right is OWNER
    )

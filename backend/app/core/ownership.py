"""The one door to a user's rows.

A table with a `user_id` column is owned: `core.statement` refuses, at import, every statement that reaches its rows
without `owned(Model)` (or, to insert, without `user_id=OWNER`). The user's id itself is given when the statement runs:
`database.one(STATEMENT, owner=user_id, ...)`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from sqlalchemy import BindParameter, ColumnElement, Insert, String, Table, bindparam
from sqlalchemy.dialects.postgresql.asyncpg import PGCompiler_asyncpg
from sqlalchemy.dialects.postgresql.dml import OnConflictDoUpdate
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList
from sqlalchemy.sql.operators import and_, eq
from sqlalchemy.sql.selectable import Join
from sqlmodel import SQLModel, col

OWNER: BindParameter[str] = bindparam("owner", type_=String(255))
_COLUMN = "user_id"


class _Owned(Protocol):
    user_id: str


def owned(model: type[_Owned]) -> ColumnElement[bool]:
    """The condition that a row of this table belongs to the user for whom the statement runs."""
    return col(model.user_id) == OWNER


class OwnerCompiler(PGCompiler_asyncpg):
    """SQLAlchemy's compiler, which refuses a statement that could touch rows of more than its owner.

    The check stands here because whatever ends up in the SQL passes here: subqueries, CTEs, what a relationship adds.

    Raises:
        TypeError: an owned table stands in the statement without the condition that `owned` makes.
    """

    def _compose_select_body(
        self, text: Any, select_stmt: Any, compile_state: Any, inner_columns: Any, froms: Any, *args: Any
    ) -> Any:
        _require_owner(froms, select_stmt._where_criteria)
        return super()._compose_select_body(text, select_stmt, compile_state, inner_columns, froms, *args)  # type: ignore[no-untyped-call]

    def visit_insert(self, insert_stmt: Any, *args: Any, **options: Any) -> Any:
        _require_owner_in_insert(insert_stmt)
        return super().visit_insert(insert_stmt, *args, **options)  # type: ignore[no-untyped-call]

    def visit_update(self, update_stmt: Any, *args: Any, **options: Any) -> str:
        _require_owner([update_stmt.table], update_stmt._where_criteria)
        _refuse_new_owner(update_stmt.table, update_stmt._values)
        return super().visit_update(update_stmt, *args, **options)

    def visit_delete(self, delete_stmt: Any, *args: Any, **options: Any) -> Any:
        _require_owner([delete_stmt.table], delete_stmt._where_criteria)
        return super().visit_delete(delete_stmt, *args, **options)  # type: ignore[no-untyped-call]

    def update_from_clause(
        self, update_stmt: Any, from_table: Any, extra_froms: Any, *args: Any, **options: Any
    ) -> Any:
        _require_owner(extra_froms, update_stmt._where_criteria)
        return super().update_from_clause(update_stmt, from_table, extra_froms, *args, **options)  # type: ignore[no-untyped-call]

    def delete_extra_from_clause(
        self, delete_stmt: Any, from_table: Any, extra_froms: Any, *args: Any, **options: Any
    ) -> Any:
        _require_owner(extra_froms, delete_stmt._where_criteria)
        return super().delete_extra_from_clause(delete_stmt, from_table, extra_froms, *args, **options)  # type: ignore[no-untyped-call]

    def visit_alias(self, alias: Any, *args: Any, **options: Any) -> Any:
        if _is_owned(alias.element):
            raise TypeError(f"{alias.element} is owned by users: an alias of it would slip past the owner's door")
        return super().visit_alias(alias, *args, **options)  # type: ignore[no-untyped-call]

    def visit_column(self, column: Any, *args: Any, **options: Any) -> str:
        # count() and exists() are made with the literal "*".
        if column.is_literal and column.name != "*":
            _refuse_text(column)
        return super().visit_column(column, *args, **options)

    def visit_textclause(self, textclause: Any, *args: Any, **options: Any) -> Any:
        _refuse_text(textclause)

    def visit_tstring(self, tstring: Any, *args: Any, **options: Any) -> Any:
        _refuse_text(tstring)

    def get_statement_hint_text(self, hint_texts: Any) -> Any:
        _refuse_text(hint_texts)


def _refuse_text(text: Any) -> None:
    raise TypeError(f"no SQL text in a statement, because nobody can see whose rows it reaches: {text}")


def _is_owned(source: Any) -> bool:
    """Whether its rows have owners; `table("name")` stands for the model's table of that name."""
    table = SQLModel.metadata.tables.get(getattr(source, "fullname", ""), source)
    return isinstance(table, Table) and _COLUMN in table.c


def _require_owner(sources: Iterable[Any], criteria: Iterable[Any]) -> None:
    guarded = {condition.left.table for condition in _conditions(criteria) if _names_owner(condition)}
    for source in _tables(sources):
        if _is_owned(source) and source not in guarded:
            raise TypeError(f"{source} is owned by users: add owned(Model) to the statement's where()")


def _require_owner_in_insert(statement: Insert) -> None:
    if not _is_owned(statement.table):
        return
    if _owner_in(statement._values or {}) is not OWNER:
        raise TypeError(f"insert into {statement.table} must say user_id=OWNER")
    conflict = statement._post_values_clause
    if isinstance(conflict, OnConflictDoUpdate):
        _require_owner([statement.table], [conflict.update_whereclause])
        _refuse_new_owner(statement.table, conflict.update_values_to_set)


def _refuse_new_owner(table: Any, values: Mapping[Any, Any] | None) -> None:
    """An update without values() would write every column, the owner's too."""
    if not _is_owned(table):
        return
    owner = _owner_in(values) if values else _COLUMN
    if owner is not None and owner is not OWNER:
        raise TypeError(f"a row of {table} stays its owner's: name the other columns in values()")


def _owner_in(values: Mapping[Any, Any]) -> Any:
    return next((value for column, value in values.items() if getattr(column, "key", column) == _COLUMN), None)


def _tables(sources: Iterable[Any]) -> list[Any]:
    """The tables and subqueries that are joined; a subquery's own tables are looked at when it is compiled."""
    pending = list(sources)
    tables = []
    while pending:
        source = pending.pop()
        if isinstance(source, Join):
            pending += [source.left, source.right]
        else:
            tables.append(source)
    return tables


def _conditions(criteria: Iterable[Any]) -> list[Any]:
    """The conditions that must all hold: what stands below an OR or a NOT guards nothing."""
    pending = list(criteria)
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
        and getattr(condition.left, "table", None) is not None
        and condition.right is OWNER
    )

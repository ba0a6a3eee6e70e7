"""Guards users' rows: a statement that reaches them must name their owner.

A table with a column `user_id` is owned by users; `tables.owner_column()` makes that column. Every `Statement` on an
owned table must hold the condition `owned(Model)`, which compares the column with the parameter `OWNER_ID`. An insert
must set `user_id=OWNER_ID` instead. Any other statement is refused at import. The user's id is passed when the
statement runs: `database.one(STATEMENT, owner=user_id, ...)`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from sqlalchemy import BindParameter, ColumnElement, Insert, String, bindparam
from sqlalchemy.dialects.postgresql.asyncpg import PGCompiler_asyncpg, PGIdentifierPreparer_asyncpg
from sqlalchemy.dialects.postgresql.dml import OnConflictDoUpdate
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList
from sqlalchemy.sql.operators import and_, eq
from sqlalchemy.sql.selectable import Join
from sqlmodel import col

from groundwork.data.known_functions import is_known_function
from groundwork.data.known_tables import OWNER_COLUMN, is_known, is_owned
from groundwork.text import USER_ID_LENGTH

OWNER_ID: BindParameter[str] = bindparam("owner", type_=String(USER_ID_LENGTH))
"""The parameter `owner` of a statement: the id of the user for whom it runs. An insert sets `user_id` to it."""

_is_plain_name = re.compile(r"[^\W\d][\w$]*").fullmatch
# The characters of PostgreSQL's operators. `--` and `/*` begin a comment, which would hide what follows.
_is_operator = re.compile(r"(?!.*(?:--|/\*))[-+*/<>=~!@#%^&|`?]+").fullmatch
_WORD_OPERATORS = frozenset({"at time zone", "is distinct from", "is not distinct from", "overlaps", "similar to"})


class _Owned(Protocol):
    user_id: str


def owned(model: type[_Owned]) -> ColumnElement[bool]:
    """The condition that a row of this model belongs to the user for whom the statement runs: for `where()`."""
    return col(model.user_id) == OWNER_ID


class OwnerCompiler(PGCompiler_asyncpg):
    """SQLAlchemy's compiler, which also refuses a statement that could reach another user's rows.

    The checks are in the compiler because every part of the SQL passes through it, including subqueries, CTEs, and the
    conditions that a relationship adds.

    Raises:
        TypeError: an owned table is in the statement without the condition that `owned` makes, or the statement holds
            SQL text, or a table or a function that is not known.
    """

    def visit_table(self, table: Any, *args: Any, **options: Any) -> Any:
        _require_known(table)
        return super().visit_table(table, *args, **options)  # type: ignore[no-untyped-call]

    def visit_function(self, func: Any, *args: Any, **options: Any) -> str:
        if not is_known_function(tuple(func.packagenames), func.name):
            name = ".".join((*func.packagenames, func.name))
            raise TypeError(f"{name}() may reach any row: declare it with known_functions.harmless() if it does not")
        return super().visit_function(func, *args, **options)

    def _compose_select_body(
        self, text: Any, select_stmt: Any, compile_state: Any, inner_columns: Any, froms: Any, *args: Any
    ) -> Any:
        _require_owner(froms, select_stmt._where_criteria)
        return super()._compose_select_body(text, select_stmt, compile_state, inner_columns, froms, *args)  # type: ignore[no-untyped-call]

    def visit_insert(self, insert_stmt: Any, *args: Any, **options: Any) -> Any:
        _require_known(insert_stmt.table)
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
        if is_owned(alias.element):
            raise TypeError(
                f"{alias.element} is owned by users: an alias of it cannot be checked; use the model itself"
            )
        return super().visit_alias(alias, *args, **options)  # type: ignore[no-untyped-call]

    def visit_column(self, column: Any, *args: Any, **options: Any) -> str:
        # count() and exists() are made with the literal "*".
        if column.is_literal and column.name != "*":
            _refuse_text(column)
        return super().visit_column(column, *args, **options)

    def visit_custom_op_binary(self, element: Any, operator: Any, **options: Any) -> Any:
        _require_operator(operator)
        return super().visit_custom_op_binary(element, operator, **options)  # type: ignore[no-untyped-call]

    def visit_custom_op_unary_operator(self, element: Any, operator: Any, **options: Any) -> Any:
        _require_operator(operator)
        return super().visit_custom_op_unary_operator(element, operator, **options)  # type: ignore[no-untyped-call]

    def visit_custom_op_unary_modifier(self, element: Any, operator: Any, **options: Any) -> Any:
        _require_operator(operator)
        return super().visit_custom_op_unary_modifier(element, operator, **options)  # type: ignore[no-untyped-call]

    def visit_extract(self, extract: Any, **options: Any) -> Any:
        if not _is_plain_name(extract.field):
            _refuse_text(extract.field)
        return super().visit_extract(extract, **options)  # type: ignore[no-untyped-call]

    def visit_textclause(self, textclause: Any, *args: Any, **options: Any) -> Any:
        _refuse_text(textclause)

    def visit_tstring(self, tstring: Any, *args: Any, **options: Any) -> Any:
        _refuse_text(tstring)

    def get_statement_hint_text(self, hint_texts: Any) -> Any:
        _refuse_text(hint_texts)


def _refuse_text(text: Any) -> None:
    raise TypeError(f"a statement may hold no SQL text, because nobody can check whose rows the text reaches: {text}")


class PlainIdentifiers(PGIdentifierPreparer_asyncpg):
    """SQLAlchemy's quoting of names, which also refuses an unquoted name that is more than a plain name."""

    def quote(self, ident: str) -> str:
        if getattr(ident, "quote", None) is False and not _is_plain_name(ident):
            _refuse_text(ident)
        return super().quote(ident)


def _require_operator(operator: Any) -> None:
    text = operator.opstring
    if not _is_operator(text) and text.lower() not in _WORD_OPERATORS:
        _refuse_text(text)


def _require_known(source: Any) -> None:
    if not is_known(source):
        raise TypeError(
            f"no model describes the table {source}: use the model, or declare with known_tables.public() why no user's"
            " rows are in it"
        )


def _require_owner(sources: Iterable[Any], criteria: Iterable[Any]) -> None:
    guarded = {condition.left.table for condition in _conditions(criteria) if _names_owner(condition)}
    for source in _tables(sources):
        if is_owned(source) and source not in guarded:
            raise TypeError(f"{source} is owned by users: add owned(Model) to the statement's where()")


def _require_owner_in_insert(statement: Insert) -> None:
    if not is_owned(statement.table):
        return
    if _owner_in(_inserted(statement)) is not OWNER_ID:
        raise TypeError(f"insert into {statement.table} must set user_id=OWNER_ID")
    conflict = statement._post_values_clause
    if isinstance(conflict, OnConflictDoUpdate):
        _require_owner([statement.table], [conflict.update_whereclause])
        _refuse_new_owner(statement.table, conflict.update_values_to_set)


def _inserted(statement: Insert) -> Mapping[Any, Any]:
    """The columns that an insert sets, with their values."""
    if statement.select is None:
        return statement._values or {}
    names, values = statement._select_names or (), getattr(statement.select, "_raw_columns", ())
    # A table or `*` among the values stands for several columns, so the places of the others would be unknown.
    if len(names) != len(values) or not all(map(_is_one_column, values)):
        return {}
    return dict(zip(names, values, strict=True))


def _is_one_column(value: Any) -> bool:
    return isinstance(value, ColumnElement) and not getattr(value, "is_literal", False)


def _refuse_new_owner(table: Any, values: Mapping[Any, Any] | None) -> None:
    """Refuse an update that writes another owner. Without values() it would write every column, `user_id` too."""
    if not is_owned(table):
        return
    owner = _owner_in(values) if values else OWNER_COLUMN
    if owner is not None and owner is not OWNER_ID:
        raise TypeError(f"an update must not change the owner of a row of {table}: name the other columns in values()")


def _owner_in(values: Mapping[Any, Any]) -> Any:
    return next((value for column, value in values.items() if getattr(column, "key", column) == OWNER_COLUMN), None)


def _tables(sources: Iterable[Any]) -> list[Any]:
    """The tables and subqueries that are joined. A subquery's own tables are checked when it is compiled."""
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
    """The conditions that must all hold. A condition below an OR or a NOT guards nothing."""
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
        and getattr(condition.left, "name", None) == OWNER_COLUMN
        and getattr(condition.left, "table", None) is not None
        and condition.right is OWNER_ID
    )

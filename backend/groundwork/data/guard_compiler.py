"""SQLAlchemy's compiler, which also refuses a statement that could reach rows of other users.

`Statement` compiles with it at import, so a refused statement stops the program before it serves. The checks are in
the compiler because every part of the SQL passes through it, including subqueries, CTEs, and the conditions that a
relationship adds.
"""

import re
from functools import cached_property
from typing import Any

from sqlalchemy import TableClause
from sqlalchemy.dialects.postgresql.asyncpg import PGIdentifierPreparer_asyncpg

from groundwork.data.guarded_writes import refuse_new_owner, require_owner, require_owner_in_insert
from groundwork.data.known_functions import is_known_function
from groundwork.data.known_tables import is_known, is_owned, public_tables, table_of
from groundwork.data.parameters import ParameterCompiler

_is_plain_name = re.compile(r"[^\W\d][\w$]*").fullmatch
# The characters of PostgreSQL's operators. `--` and `/*` begin a comment, which would hide what follows.
_is_operator = re.compile(r"(?!.*(?:--|/\*))[-+*/<>=~!@#%^&|`?]+").fullmatch
_NAME_BYTES = 63
_WORD_OPERATORS = frozenset({"at time zone", "is distinct from", "is not distinct from", "overlaps", "similar to"})


class KnownCompiler(ParameterCompiler):
    """Refuses SQL text, undeclared tables and unknown functions, because nobody can tell whose rows they reach.

    Raises:
        TypeError: one of these is in the statement, or a column whose table is not read there.
    """

    def visit_table(self, table: Any, *args: Any, **options: Any) -> Any:
        _require_known(table)
        if options.get("ashint"):  # FOR UPDATE OF
            _require_read(self, table, table)
        return super().visit_table(table, *args, **options)  # type: ignore[no-untyped-call]

    def visit_alias(self, alias: Any, *args: Any, **options: Any) -> Any:
        if options.get("ashint"):
            _require_read(self, alias, f"an alias of {alias.element}")
        return super().visit_alias(alias, *args, **options)  # type: ignore[no-untyped-call]

    def visit_function(self, func: Any, *args: Any, **options: Any) -> str:
        if not is_known_function(tuple(func.packagenames), func.name):
            name = ".".join((*func.packagenames, func.name))
            raise TypeError(f"{name}() may reach any row: declare it with known_functions.harmless() if it does not")
        return super().visit_function(func, *args, **options)

    def visit_insert(self, insert_stmt: Any, *args: Any, **options: Any) -> Any:
        _require_known(insert_stmt.table)
        return super().visit_insert(insert_stmt, *args, **options)  # type: ignore[no-untyped-call]

    def visit_column(self, column: Any, *args: Any, **options: Any) -> str:
        # SQLAlchemy itself writes two literals: "*" in count() and exists(), and '%' in startswith() and similar ones.
        if column.is_literal and column.name != "*" and column is not self._like_percent_literal:
            _refuse_text(column)
        # A whole row as a value has no table, but an alias.
        source = getattr(column, "scalar_alias", column.table)
        if source is not None and options.get("include_table", True):
            _require_read(self, source, column)
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


class OwnerCompiler(KnownCompiler):
    """Also refuses a statement that could reach other users' rows.

    Raises:
        TypeError: an owned table lacks the condition that `owned` makes, a write could give a row another owner, or two
            sources of the statement have the same name.
    """

    def _compose_select_body(
        self, text: Any, select: Any, compile_state: Any, inner_columns: Any, froms: Any, *args: Any, **options: Any
    ) -> Any:
        require_owner(froms, select._where_criteria)
        return super()._compose_select_body(text, select, compile_state, inner_columns, froms, *args, **options)  # type: ignore[no-untyped-call]

    def visit_table(self, table: Any, *args: Any, **options: Any) -> Any:
        _require_own_name(self, table)
        return super().visit_table(table, *args, **options)

    def visit_alias(self, alias: Any, *args: Any, **options: Any) -> Any:
        if options.get("asfrom"):
            _require_own_name(self, alias)
        return super().visit_alias(alias, *args, **options)

    def visit_cte(self, cte: Any, *args: Any, **options: Any) -> Any:
        _require_own_name(self, cte)
        return super().visit_cte(cte, *args, **options)

    def visit_values(self, element: Any, *args: Any, **options: Any) -> Any:
        _require_own_name(self, element)
        return super().visit_values(element, *args, **options)  # type: ignore[no-untyped-call]

    @cached_property
    def named(self) -> dict[tuple[str | None, bytes], Any]:
        """The tables of the statement by name or alias. None stands for a subquery, a CTE or VALUES of that name."""
        return {}

    def visit_insert(self, insert_stmt: Any, *args: Any, **options: Any) -> Any:
        _require_own_name(self, insert_stmt.table)
        require_owner_in_insert(insert_stmt)
        return super().visit_insert(insert_stmt, *args, **options)

    def visit_update(self, update_stmt: Any, *args: Any, **options: Any) -> str:
        require_owner([update_stmt.table], update_stmt._where_criteria)
        refuse_new_owner(update_stmt.table, update_stmt._values)
        return super().visit_update(update_stmt, *args, **options)

    def visit_delete(self, delete_stmt: Any, *args: Any, **options: Any) -> Any:
        require_owner([delete_stmt.table], delete_stmt._where_criteria)
        return super().visit_delete(delete_stmt, *args, **options)  # type: ignore[no-untyped-call]

    def update_from_clause(
        self, update_stmt: Any, from_table: Any, extra_froms: Any, *args: Any, **options: Any
    ) -> Any:
        require_owner(extra_froms, update_stmt._where_criteria)
        return super().update_from_clause(update_stmt, from_table, extra_froms, *args, **options)  # type: ignore[no-untyped-call]

    def delete_extra_from_clause(
        self, delete_stmt: Any, from_table: Any, extra_froms: Any, *args: Any, **options: Any
    ) -> Any:
        require_owner(extra_froms, delete_stmt._where_criteria)
        return super().delete_extra_from_clause(delete_stmt, from_table, extra_froms, *args, **options)  # type: ignore[no-untyped-call]


def _require_own_name(compiler: OwnerCompiler, source: Any) -> None:
    """Check that no two sources of the statement share a name if one of them is a table or an alias of a table.

    PostgreSQL resolves a name to the nearest source that has it. Inside a subquery, a condition that is meant for the
    outer table would then apply to the inner source.
    """
    name = source.name.apply_map(compiler.anon_map) if hasattr(source.name, "apply_map") else source.name
    # PostgreSQL cuts longer names off.
    key = getattr(source, "schema", None), name.lower().encode()[:_NAME_BYTES]
    is_table = isinstance(table_of(source), TableClause)
    # Two subqueries may share a name, because each is checked by itself.
    if compiler.named.setdefault(key, source if is_table else None) != (source if is_table else None):
        raise TypeError(f"two tables or subqueries of a statement have the name {name}: give one another name")


def _require_read(compiler: KnownCompiler, source: Any, named: Any) -> None:
    """Check that the part of the statement which names a source also reads or writes it."""
    for part in compiler.stack[-1:]:  # there is none around SQL text, which is refused
        written = getattr(part["selectable"], "table", part["selectable"])
        # An upsert calls the row that it could not insert so.
        is_written = source == written or source.name == "excluded"
        if not (is_written or source in part["correlate_froms"]):
            name = getattr(table_of(source), "fullname", "the subquery")
            raise TypeError(
                f"{named} is named where the statement does not read {name}: join {name} there, or take the value"
                " from a subquery, as in returning(select(…).where(…).scalar_subquery())"
            )


def _refuse_text(text: Any) -> None:
    raise TypeError(
        f"a statement may hold no SQL text, because nobody can check whose rows the text reaches: {text};"
        " write it with SQLAlchemy's constructs, such as func.lower(…) and bindparam('name')"
    )


class PlainIdentifiers(PGIdentifierPreparer_asyncpg):
    """Quotes names as SQLAlchemy does. Refuses SQL text in a name whose quoting is switched off."""

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
    if not is_owned(source) and source not in public_tables:
        raise TypeError(
            f"nobody has said whose rows are in {source}: declare their owner with owner_column() in the model, or with"
            ' public(Model, reason="...") why they are no user\'s'
        )

"""The texts under which statements stay prepared behind a pooler that tracks prepared statements.

Such a pooler (PgBouncer since 1.21) keeps one statement for each text, and prepares it on every server connection
where it is not prepared yet. So the answer can come from a server connection that prepared the text after a change of
the schema, while this process was told the types of the columns before the change. PostgreSQL does not repeat the
types with the answer, so the driver would read the bytes of one type as those of another.

So a statement is kept under a text that names the type of each parameter and of each column of its result. Then the
types are the same on every server connection at every time: PostgreSQL converts the values, or refuses to. A statement
whose types cannot be named in this way is not kept. It costs two round trips.

A kept statement can also become outdated, for example when a column gets another collation. Then the pooler would go
on running it under its text, and it would fail for ever. So its text then gets a new number, the generation.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import count
from sqlalchemy.types import TypeEngine

Maker = Callable[[], str | None]

# Finds a parameter without one of PostgreSQL's own types. Any other type can be dropped and made anew under its name.
_TYPES = "VARCHAR|TEXT|INTEGER|BIGINT|SMALLINT|BOOLEAN|UUID|BYTEA|TIMESTAMP|TIME|DATE|INTERVAL|FLOAT|NUMERIC|JSONB?"
_has_untyped_parameter = re.compile(rf"\$\d+(?!\d)(?!::(?:{_TYPES})\b)").search


class KeptTexts:
    """The texts of this process. Each is made when it is first needed, so without such a pooler there are none."""

    def __init__(self) -> None:
        self.generation = 0
        self._makers: dict[str, list[Maker]] = {}
        self._texts: dict[str, str | None] = {}

    def add(self, sql: str, make: Maker) -> None:
        """Add a statement.

        Args:
            sql: what is sent to PostgreSQL itself.
            make: returns the same SQL with every type named, or None if that is not possible.
        """
        self._makers.setdefault(sql, []).append(make)
        self._texts.pop(sql, None)

    def of(self, sql: str) -> str | None:
        """The text under which the statement is kept, or None if it must not be kept."""
        try:
            return self._texts[sql]
        except KeyError:
            # The same SQL may come from two models with different types. Nothing here tells which of them is meant.
            made = {make() for make in self._makers.get(sql, ())}
            text = made.pop() if len(made) == 1 else None
            self._texts[sql] = text = f"{text} /* {self.generation} */" if text and self.generation else text
            return text

    def renew(self, generation: int) -> None:
        """Give every statement a new text, unless the outdated text's generation is not the newest any more."""
        if generation == self.generation:
            self.generation += 1
            self._texts.clear()


kept_texts = KeptTexts()


def fixed_text(statement: sa.ClauseElement, places: Sequence[str], dialect: sa.Dialect) -> str | None:
    """The text of the statement with the types of all parameters and results in it, or None if there is none.

    Args:
        places: the names of the parameters in their order.
    """
    fixed = _with_fixed_columns(statement, dialect)
    if fixed is None:
        return None
    compiled = cast("SQLCompiler", fixed.compile(dialect=dialect))
    if _has_untyped_parameter(compiled.string):
        return None
    # The values are passed by position.
    return compiled.string if list(compiled.positiontup or ()) == list(places) else None


def _with_fixed_columns(statement: Any, dialect: sa.Dialect) -> Any:
    if isinstance(statement, sa.Select):
        # DISTINCT and its ORDER BY have to name the same expressions.
        if statement._distinct or statement._distinct_on:
            return None
        columns = _fixed_columns(statement.selected_columns, dialect)
        return columns and statement.with_only_columns(*columns)
    if isinstance(statement, sa.Insert | sa.Update | sa.Delete):
        if not statement._returning:
            return statement
        columns = _fixed_columns(statement.exported_columns, dialect)
        if not columns:
            return None
        without = statement._generate()
        without._returning = ()
        return without.returning(*columns)
    return None


def _fixed_columns(columns: Iterable[sa.ColumnElement[Any]], dialect: sa.Dialect) -> list[Any] | None:
    fixed = []
    for column in columns:
        source = column.element if isinstance(column, sa.Label) else column
        # A column of a subquery or CTE counts as the column that is selected there.
        is_stored = all(isinstance(getattr(base, "table", None), sa.TableClause) for base in source.base_columns)
        type_ = _result_type(column.type, dialect)
        item = getattr(type_, "item_type", type_)
        # PostgreSQL may compute another type of number than SQLAlchemy declares: the sum of BIGINT is a NUMERIC.
        is_sure = is_stored or isinstance(source, sa.Cast | count) or not isinstance(item, _NUMBERS)
        if type_ is None or not is_sure:
            return None
        # A cast would round a number to an integer, or turn an integer into a truth value. A cast by way of text fails.
        exact = sa.cast(column, sa.Text) if is_stored and isinstance(item, sa.BigInteger | sa.Boolean) else column
        fixed.append(sa.cast(exact, type_).label(column.key))
    return fixed


def _result_type(type_: TypeEngine[Any], dialect: sa.Dialect) -> TypeEngine[Any] | None:
    """A type of PostgreSQL's own that holds every value of this one, or None."""
    while isinstance(type_, sa.TypeDecorator) and not isinstance(type_, sa.Interval):
        type_ = type_.load_dialect_impl(dialect)
    for kind, make in _RESULT_TYPES:
        if isinstance(type_, kind):
            return make(type_, dialect)
    return None


def _array_type(type_: Any, dialect: sa.Dialect) -> TypeEngine[Any] | None:
    item = _result_type(type_.item_type, dialect)
    return item and sa.ARRAY(item)


_NUMBERS = sa.BigInteger, sa.Double, sa.Numeric
# The first entry that fits counts. Lengths and scales are left out, because a cast to a shorter type cuts values off.
# CHAR has no type here, because a cast cuts off the spaces at its end.
_RESULT_TYPES: tuple[tuple[Any, Callable[[Any, sa.Dialect], TypeEngine[Any] | None]], ...] = (
    (sa.CHAR, lambda *_: None),
    (sa.String, lambda *_: sa.Text()),  # an enumeration too: its values arrive as their names
    (sa.Integer, lambda *_: sa.BigInteger()),
    (sa.DateTime, lambda type_, _: sa.DateTime(timezone=type_.timezone)),
    (sa.Time, lambda type_, _: sa.Time(timezone=type_.timezone)),
    (sa.Uuid, lambda type_, _: sa.Uuid() if type_.native_uuid else sa.Text()),
    (sa.Float, lambda *_: sa.Double()),
    (sa.Numeric, lambda *_: sa.Numeric()),
    (sa.Interval | INTERVAL, lambda *_: sa.Interval()),
    (sa.ARRAY, _array_type),
    (sa.Boolean | sa.Date | sa.LargeBinary | sa.JSON, lambda type_, _: type_),
)

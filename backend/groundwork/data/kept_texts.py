"""The texts under which statements stay prepared behind a pooler that tracks prepared statements.

Such a pooler (PgBouncer since 1.21) keeps one statement for each text, and prepares it on every server connection
where it is not prepared yet. So the answer can come from a server connection that prepared the text after a change of
the schema, while this process was told the types of the columns before the change. PostgreSQL does not repeat the
types with the answer, and the driver would read the bytes of one type as another one.

So a statement is kept under a text that names the type of each parameter and of each column of its result. Then the
types are the same on every server connection at every time: PostgreSQL converts the values, or refuses to. A statement
whose types cannot be named in this way is not kept. It costs two round trips.

A kept statement can also become outdated, for example when a column gets another collation. Then the pooler would go
on running it under its text, and it would fail for ever. A number in the text, the generation, makes a new text of it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from sqlalchemy import (
    ARRAY,
    CHAR,
    JSON,
    BigInteger,
    Boolean,
    Cast,
    ClauseElement,
    ColumnElement,
    Date,
    DateTime,
    Delete,
    Dialect,
    Double,
    Float,
    Insert,
    Integer,
    Interval,
    Label,
    LargeBinary,
    Numeric,
    Select,
    String,
    TableClause,
    Text,
    Time,
    TypeDecorator,
    Update,
    Uuid,
)
from sqlalchemy import cast as as_type
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import count
from sqlalchemy.types import TypeEngine

Maker = Callable[[], str | None]

# A parameter without a type of PostgreSQL's own. Any other type can be made anew under its name.
_TYPES = "VARCHAR|TEXT|INTEGER|BIGINT|SMALLINT|BOOLEAN|UUID|BYTEA|TIMESTAMP|TIME|DATE|INTERVAL|FLOAT|NUMERIC|JSONB?"
_has_untyped_parameter = re.compile(rf"\$\d+(?!\d)(?!::(?:{_TYPES})\b)").search


class KeptTexts:
    """The texts of this process. Each is made when it is first needed: only with such a pooler are there any."""

    def __init__(self) -> None:
        self.generation = 0
        self._makers: dict[str, list[Maker]] = {}
        self._texts: dict[str, str | None] = {}

    def add(self, sql: str, make: Maker) -> None:
        """Add a statement.

        Args:
            sql: what is sent to PostgreSQL itself.
            make: returns the same with every type named, or None if that cannot be.
        """
        self._makers.setdefault(sql, []).append(make)
        self._texts.pop(sql, None)

    def of(self, sql: str) -> str | None:
        """The text under which the statement is kept, or None if it must not be kept."""
        try:
            return self._texts[sql]
        except KeyError:
            # Two models may declare different types for one column. Nothing here tells which of the two is meant.
            made = {make() for make in self._makers.get(sql, ())}
            text = made.pop() if len(made) == 1 else None
            self._texts[sql] = text = f"{text} /* {self.generation} */" if text and self.generation else text
            return text

    def renew(self, generation: int) -> None:
        """Give every statement a new text, unless that has happened since the generation in which one was outdated."""
        if generation == self.generation:
            self.generation += 1
            self._texts.clear()


kept_texts = KeptTexts()


def fixed_text(statement: ClauseElement, places: Sequence[str], dialect: Dialect) -> str | None:
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
    # The values are passed by their places.
    return compiled.string if list(compiled.positiontup or ()) == list(places) else None


def _with_fixed_columns(statement: Any, dialect: Dialect) -> Any:
    if isinstance(statement, Select):
        # DISTINCT and its ORDER BY have to name the same expressions.
        if statement._distinct or statement._distinct_on:
            return None
        columns = _fixed_columns(statement.selected_columns, dialect)
        return columns and statement.with_only_columns(*columns)
    if isinstance(statement, Insert | Update | Delete):
        if not statement._returning:
            return statement
        columns = _fixed_columns(statement.exported_columns, dialect)
        if not columns:
            return None
        without = statement._generate()
        without._returning = ()
        return without.returning(*columns)
    return None


def _fixed_columns(columns: Iterable[ColumnElement[Any]], dialect: Dialect) -> list[Any] | None:
    fixed = []
    for column in columns:
        source = column.element if isinstance(column, Label) else column
        # A column of a subquery or CTE counts as what it stands for there.
        is_stored = all(isinstance(getattr(base, "table", None), TableClause) for base in source.base_columns)
        type_ = _result_type(column.type, dialect)
        item = getattr(type_, "item_type", type_)
        # PostgreSQL may compute with other numbers than SQLAlchemy says: the sum of BIGINT is a NUMERIC.
        is_sure = is_stored or isinstance(source, Cast | count) or not isinstance(item, _NUMBERS)
        if type_ is None or not is_sure:
            return None
        # A number becomes an integer by rounding, and an integer a truth value. By way of the text, both are refused.
        exact = as_type(column, Text) if is_stored and isinstance(item, BigInteger | Boolean) else column
        fixed.append(as_type(exact, type_).label(column.key))
    return fixed


def _result_type(type_: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any] | None:
    """A type of PostgreSQL's own that holds every value of this one, or None."""
    while isinstance(type_, TypeDecorator) and not isinstance(type_, Interval):
        type_ = type_.load_dialect_impl(dialect)
    for kind, make in _RESULT_TYPES:
        if isinstance(type_, kind):
            return make(type_, dialect)
    return None


def _array_type(type_: Any, dialect: Dialect) -> TypeEngine[Any] | None:
    item = _result_type(type_.item_type, dialect)
    return item and ARRAY(item)


_NUMBERS = BigInteger, Double, Numeric
# The first that fits counts. Lengths and scales are left out: a cast to a shorter type cuts the value off. So does a
# cast of CHAR with the spaces at its end.
_RESULT_TYPES: tuple[tuple[Any, Callable[[Any, Dialect], TypeEngine[Any] | None]], ...] = (
    (CHAR, lambda *_: None),
    (String, lambda *_: Text()),  # an enumeration too: its values arrive as their names
    (Integer, lambda *_: BigInteger()),
    (DateTime, lambda type_, _: DateTime(timezone=type_.timezone)),
    (Time, lambda type_, _: Time(timezone=type_.timezone)),
    (Uuid, lambda type_, _: Uuid() if type_.native_uuid else Text()),
    (Float, lambda *_: Double()),
    (Numeric, lambda *_: Numeric()),
    (Interval | INTERVAL, lambda *_: Interval()),
    (ARRAY, _array_type),
    (Boolean | Date | LargeBinary | JSON, lambda type_, _: type_),
)

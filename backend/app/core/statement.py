"""SQLModel statements, compiled once at import and run on asyncpg.

Compiling a statement for each request costs more than running it, and so does SQLAlchemy's engine on the way to the
driver (`loadtests/` measures both). Nothing of SQLAlchemy's meaning is given up: its own compiler for asyncpg makes the
text, its bind and result processors treat the values, and what cannot be treated that way is refused here, at import.
"""

import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import asyncpg
from pydantic import BaseModel, TypeAdapter
from sqlalchemy import ARRAY, JSON, Select
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from app.core.ownership import require_owner

Row = TypeVar("Row", bound=BaseModel)
Processor = Callable[[Any], Any]

_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]


class Statement(Generic[Row]):
    """A statement and the model that its rows become.

    Values come in by name, as `bindparam("name")` stands in the statement: `database.one(STATEMENT, name=value)`.

    Raises:
        TypeError: at import, when the statement reaches rows of no named owner, or holds what would need SQLAlchemy's
            session or engine at run time (an expanding IN, a default computed in Python, a type without a codec), or
            when its columns are not the model's fields.
    """

    def __init__(self, statement: Executable, returns: type[Row] | None = None) -> None:
        require_owner(statement)
        compiled = cast(SQLCompiler, statement.compile(dialect=_DIALECT))
        _refuse_run_time_work(compiled)
        self.sql = compiled.string
        self._binds = [_Bind(compiled, name) for name in compiled.positiontup or ()]
        self._names = frozenset(bind.name for bind in self._binds if bind.name)
        self._plain = all(bind.name and not bind.process for bind in self._binds)
        self._order = [bind.name for bind in self._binds]
        self._columns = _columns(statement)
        self._results = _result_processors(self._columns)
        if returns is not None:
            _require_fields(returns, self._columns)
            self._validate = TypeAdapter(returns).validator.validate_python

    def arguments(self, values: dict[str, Any]) -> list[Any]:
        """The values in the order of `$1`, `$2`, …, as the driver takes them.

        Raises:
            TypeError: a value is missing or has no place.
        """
        if values.keys() != self._names:
            raise TypeError(f"the statement takes {sorted(self._names)}, not {sorted(values)}: {self.sql}")
        if self._plain:
            return [values[name] for name in self._order]
        return [bind.argument(values) for bind in self._binds]

    def row(self, record: asyncpg.Record) -> Row:
        """One row as the statement's model."""
        values = dict(record)
        for name, process in self._results:
            values[name] = process(values[name])
        return cast(Row, self._validate(values))


class _Bind:
    """One place in the statement: filled by a named value, or by a value that the statement fixed."""

    def __init__(self, compiled: SQLCompiler, place: str) -> None:
        parameter = compiled.binds[place]
        self.process: Processor | None = compiled._bind_processors.get(place)
        self.name = place if parameter.required else ""
        self.fixed = None if parameter.required else self._processed(parameter.effective_value)
        _refuse_unknown_codec(parameter.type, place)

    def argument(self, values: dict[str, Any]) -> Any:
        return self._processed(values[self.name]) if self.name else self.fixed

    def _processed(self, value: Any) -> Any:
        return self.process(value) if self.process else value


def _refuse_run_time_work(compiled: SQLCompiler) -> None:
    if compiled.post_compile_params or compiled.literal_execute_params:
        raise TypeError("in_() is expanded at run time: write column == any_(bindparam(...)) instead")
    prefetched = [column.name for column in (*compiled.insert_prefetch, *compiled.update_prefetch)]
    if prefetched:
        raise TypeError(f"{prefetched} would get their value from a default in Python: give them one in values()")


def _columns(statement: Any) -> dict[str, TypeEngine[Any]]:
    columns = statement.selected_columns if isinstance(statement, Select) else statement.exported_columns
    return {column.key: column.type for column in columns}


def _result_processors(columns: dict[str, TypeEngine[Any]]) -> list[tuple[str, Processor]]:
    processors = []
    for name, type_ in columns.items():
        _refuse_unknown_codec(type_, name)
        # SQLAlchemy registers a JSON codec on its own connections; on a plain one, JSON arrives as text.
        if isinstance(type_, JSON):
            process: Processor | None = _json_or_none
        else:
            process = type_.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
        if process:
            processors.append((name, process))
    return processors


def _json_or_none(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _refuse_unknown_codec(type_: TypeEngine[Any], name: str) -> None:
    if isinstance(type_, ARRAY) and isinstance(type_.item_type, JSON):
        raise TypeError(f"{name}: an array of JSON has no codec here; use one JSON value that holds the array")


def _require_fields(model: type[BaseModel], columns: dict[str, TypeEngine[Any]]) -> None:
    if columns.keys() != model.model_fields.keys():
        differ = sorted(columns.keys() ^ model.model_fields.keys())
        raise TypeError(f"the statement's columns are not the fields of {model.__name__}: {differ}")

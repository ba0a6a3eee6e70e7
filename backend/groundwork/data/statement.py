"""SQLModel statements, compiled once at import and run on asyncpg.

Compiling a statement for each request would cost more than running it. So would SQLAlchemy's engine between the request
and the driver. So `Database` passes a statement's SQL and its converted values straight to asyncpg. A statement still
means the same as in SQLAlchemy: SQLAlchemy's compiler for asyncpg writes the SQL, and SQLAlchemy's bind and result
processors convert the values. A statement that needs more of SQLAlchemy is refused at import.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import cached_property, partial
from operator import itemgetter
from typing import Any, Generic, NoReturn, TypeVar, cast

import asyncpg
import sqlalchemy as sa
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_jsonable_python
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.dialects.postgresql.asyncpg import AsyncpgFloat, AsyncpgNumeric, PGCompiler_asyncpg, PGDialect_asyncpg
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import iterate
from sqlmodel import SQLModel

from groundwork.data.guard_check import require_guard
from groundwork.data.guard_compiler import KnownCompiler, OwnerCompiler, PlainIdentifiers
from groundwork.data.kept_texts import fixed_text, kept_texts
from groundwork.data.plain_models import PlainModel, plain_model
from groundwork.data.statement_names import origin
from groundwork.errors import Conflict
from groundwork.observe.current_request import current_request

Row = TypeVar("Row", bound=BaseModel)
Processor = Callable[[Any], Any]

_FLOAT_OID, _NUMERIC_OID = 701, 1700
_KEYS = (sa.PrimaryKeyConstraint, sa.UniqueConstraint, ExcludeConstraint)
NO_CONFLICTS: Mapping[str, str] = {}


class _ByValue:
    """Chooses a number's result processor by the value. SQLAlchemy chooses it by the OID that the server sends."""

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        choose = super().result_processor  # type: ignore[misc]
        of_float, of_other = choose(dialect, _FLOAT_OID), choose(dialect, _NUMERIC_OID)

        def process(value: Any) -> Any:
            processor = of_float if isinstance(value, float) else of_other
            return processor(value) if processor else value

        return process


class _Numeric(_ByValue, AsyncpgNumeric):
    pass


class _Float(_ByValue, AsyncpgFloat):
    pass


class _Dialect(PGDialect_asyncpg):
    """SQLAlchemy's dialect for asyncpg, for connections that SQLAlchemy's engine did not open."""

    statement_compiler: type[PGCompiler_asyncpg] = OwnerCompiler
    preparer = PlainIdentifiers
    supports_statement_cache = False
    # SQLAlchemy's engine sets a JSON codec on its connections. Without one, JSON arrives as text.
    supports_native_json_deserialization = False
    colspecs = {**PGDialect_asyncpg.colspecs, sa.Numeric: _Numeric, sa.Float: _Float}  # noqa: RUF012


class _DialectForEverybody(_Dialect):
    """The same without the check of owners, for statements that say why they reach everybody's rows."""

    statement_compiler: type[PGCompiler_asyncpg] = KnownCompiler


def _json_text(value: Any) -> str:
    """The JSON of any value that pydantic can write, for a JSON column. Models are written and read by field names."""
    return json.dumps(to_jsonable_python(value, by_alias=False))


_DIALECT = _Dialect(dbapi=PGDialect_asyncpg.import_dbapi(), json_serializer=_json_text)  # type: ignore[no-untyped-call]
_DIALECT_FOR_EVERYBODY = _DialectForEverybody(dbapi=_DIALECT.dbapi, json_serializer=_json_text)  # type: ignore[no-untyped-call]


for_everybody: list["Statement[Any]"] = []
"""The statements that reach everybody's rows. `make guard` lists them."""


class Statement(Generic[Row]):
    """A compiled statement, and the model that its rows become.

    Values are passed by name. A statement with `bindparam("name")` is run with `database.one(STATEMENT, name=value)`.

    Args:
        statement: a select, insert, update or delete, made with SQLModel or SQLAlchemy.
        returns: the model of a row; its fields are the columns of the statement. None for a statement without rows:
            `execute` runs it, and `one` and `all` raise TypeError.
        conflicts: maps the name of a constraint or of a unique index to the sentence that the client gets when the
            statement breaks it. Any other broken constraint is a defect.
        everybody: a sentence that says why the statement reaches everybody's rows. It then needs no `owned()`, but a
            request may run it only in a route that asks for a role: see `staff` of `create_app`.
        name: the name in metrics and in the log. None makes it from the module and the variable.

    Raises:
        TypeError: the statement reaches rows without naming their owner; or it needs SQLAlchemy's session or engine at
            run time, as for a list of tuples in IN or a default in Python; or its columns are not the model's fields;
            or `conflicts` names an unknown constraint.
    """

    def __init__(
        self,
        statement: sa.ClauseElement,
        returns: type[Row] | None = None,
        conflicts: Mapping[str, str] = NO_CONFLICTS,
        *,
        everybody: str | None = None,
        name: str | None = None,
    ) -> None:
        self._name, self.origin = name, origin()
        dialect = _DIALECT if everybody is None else _DIALECT_FOR_EVERYBODY
        compiled = cast("SQLCompiler", statement.compile(dialect=dialect))
        if not isinstance(compiled, KnownCompiler):
            raise TypeError(
                f"only select, insert, update and delete can be checked, not {type(statement).__name__}:"
                " use one of these, or run other SQL in a migration"
            )
        if everybody == "":
            raise TypeError("say in a sentence why the statement reaches everybody's rows: everybody='...'")
        _refuse_run_time_work(compiled)
        self.everybody = everybody
        if everybody is not None:
            for_everybody.append(self)
            self.arguments = partial(_arguments_for_staff, self.arguments)  # type: ignore[method-assign]
        self.sql = compiled.string
        self.source = statement
        """The statement as it was given."""
        self.reads = _only_reads(statement)
        """Whether running the statement twice has the same effect as running it once."""
        places = compiled.positiontup or ()
        kept_texts.add(self.sql, partial(fixed_text, statement, places, dialect))
        self._in_order = _picker(places)
        process: Any = compiled._bind_processors
        self.names = frozenset(name for name in places if compiled.binds[name].required)
        """The parameters that each run gives a value."""
        self._processors = [
            (place, process[name]) for place, name in enumerate(places) if name in process and name in self.names
        ]
        fixed = {name: compiled.binds[name].value for name in places if name not in self.names}
        self._constants = {name: process[name](value) if name in process else value for name, value in fixed.items()}
        self._results = _result_processors(compiled)
        _require_constraints(conflicts)
        self.conflicts = conflicts
        refuse: Callable[[Any], Any] = partial(_refuse_rows, self.sql)
        self._plain, self._validate, self._validate_all = cast("PlainModel[Any] | None", None), refuse, refuse
        if returns is not None:
            self._columns = [column.keyname for column in compiled._result_columns]
            _require_fields(returns, self._columns)
            # Columns have the names of the fields. Aliases are for JSON.
            one, many = TypeAdapter(returns).validator, TypeAdapter(list[returns]).validator  # type: ignore[valid-type]
            self._validate = partial(one.validate_python, by_alias=False, by_name=True)
            self._validate_all = partial(many.validate_python, by_alias=False, by_name=True)
            if not self._results:
                self._plain = plain_model(TypeAdapter(returns).core_schema, self._columns)

    @cached_property
    def name(self) -> str:
        """What metrics and the log call the statement."""
        return self._name or self.origin.name()

    def as_text(self, sql: str) -> "Statement[Row]":
        """The same statement, sent as another text."""
        other = copy(self)
        other.sql = sql
        return other

    def arguments(self, values: dict[str, Any]) -> list[Any]:
        """The values in the order of `$1`, `$2`, …, converted for the driver.

        Raises:
            TypeError: a value is missing, or the statement has no parameter of its name.
        """
        try:
            arguments = [*self._in_order(self._constants | values if self._constants else values)]
        except KeyError:
            raise self._wrong_names(values) from None
        # No value is missing, so the names are right if there are as many values. Comparing the names takes longer.
        if len(values) != len(self.names):
            raise self._wrong_names(values)
        for place, process in self._processors:
            arguments[place] = process(arguments[place])
        return arguments

    def _wrong_names(self, values: dict[str, Any]) -> TypeError:
        return TypeError(
            f"the statement takes {sorted(self.names)}, not {sorted(values)}; give exactly these: {self.sql}"
        )

    def own_values(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values that are parameters of this statement."""
        return {name: value for name, value in values.items() if name in self.names}

    def rows(self, records: list[asyncpg.Record]) -> list[Row]:
        """Every row as the statement's model."""
        if self._results:
            return [self.row(record) for record in records]
        if self._plain and (rows := self._plain.fill(records)) is not None:
            return rows
        return cast("list[Row]", self._validate_all([dict(record) for record in records]))

    def row(self, record: asyncpg.Record | dict[str, Any]) -> Row:
        """One row as the statement's model."""
        if self._plain:
            in_order = [record[name] for name in self._columns] if isinstance(record, dict) else record
            if rows := self._plain.fill((in_order,)):
                return cast("Row", rows[0])
        values = dict(record)
        for name, process in self._results:
            values[name] = process(values[name])
        return cast("Row", self._validate(values))

    def conflict(self, error: BaseException) -> Conflict | None:
        """The error for the client if the driver's error is about a constraint in `conflicts`, else None."""
        name = getattr(error, "constraint_name", None)
        if not (name and self.conflicts):
            return None
        sentence = self.conflicts.get(name) or self._partitions_conflict(name, error)
        return Conflict(sentence) if sentence else None

    def _partitions_conflict(self, name: str, error: Any) -> str | None:
        """The sentence for a partition's constraint. A key has a name of its own there.

        A reference to it has a number behind its name, or in PostgreSQL 17, if the name is not the usual one, another.
        """
        is_reference = isinstance(error, asyncpg.ForeignKeyViolationError)
        named = re.search(r"\((.*?)\)=\(", error.detail or "")
        columns = named[1].replace('"', "").split(", ") if named else []
        there = {} if _constraints(name) else self.conflicts
        if is_reference and (numbered := re.fullmatch(rf"({'|'.join(map(re.escape, there))})_?\d+", name)):
            return there[numbered[1]]
        for each, sentence in there.items():
            if columns in [_key_of(key, error) for key in _constraints(each)]:
                return sentence
        return None


def _arguments_for_staff(arguments: Callable[[dict[str, Any]], list[Any]], values: dict[str, Any]) -> list[Any]:
    request = current_request.get()
    if request is not None and not hasattr(request, "role"):
        raise TypeError(
            "this statement reaches everybody's rows, and the route asks for no role: add its router to `staff` in"
            " app/main.py"
        )
    return arguments(values)


def _picker(names: Iterable[str]) -> Callable[[dict[str, Any]], Iterable[Any]]:
    """A function that returns the values of these names in their order."""
    several = [*names]
    # For one name, an itemgetter returns its value instead of a tuple.
    return itemgetter(*several) if len(several) > 1 else lambda values: [values[name] for name in several]


def _only_reads(statement: sa.ClauseElement) -> bool:
    return isinstance(statement, sa.SelectBase) and not any(
        isinstance(part, sa.UpdateBase) for part in iterate(statement)
    )


def _refuse_run_time_work(compiled: SQLCompiler) -> None:
    if compiled.literal_execute_params:
        raise TypeError("the value of a parameter would be written into the SQL: leave out literal_execute=True")
    if compiled.post_compile_params:
        raise TypeError("in_() takes no list of tuples: join func.unnest(bindparam(...), bindparam(...)) instead")
    for name, parameter in compiled.binds.items():
        if parameter.callable:
            raise TypeError(f"the value of {name} would be computed at each run: pass it by name instead")
    prefetched: list[Any] = [*compiled.insert_prefetch, *compiled.update_prefetch]
    if prefetched:
        # In an insert of several rows, a stand-in takes the column's place in each row but the first.
        names = sorted({getattr(column, "original", column).name for column in prefetched})
        raise TypeError(f"{names} would get a value from a default in Python: set it in values()")


def _result_processors(compiled: SQLCompiler) -> list[tuple[str, Processor]]:
    columns = [(column.keyname, column.type.dialect_impl(_DIALECT)) for column in compiled._result_columns]
    processors = [(name, type_.result_processor(_DIALECT, None)) for name, type_ in columns]
    return [(name, process) for name, process in processors if process]


def _key_of(constraint: Any, error: Any) -> list[str] | None:
    """The columns that the detail of such an error names."""
    if not isinstance(error, asyncpg.ForeignKeyViolationError):
        return [each.name for each in constraint.columns] if isinstance(constraint, _KEYS) else None
    refers = isinstance(constraint, sa.ForeignKeyConstraint) and constraint.table.name == error.table_name
    return [each.column.name for each in constraint.elements] if refers else None


def _constraints(name: str) -> list[Any]:
    """The models' constraints and indexes of this name."""
    tables = SQLModel.metadata.tables.values()
    found: list[Any] = [each for table in tables for each in (*table.constraints, *table.indexes)]
    return [each for each in found if each.name == name]


def _require_constraints(names: Iterable[str]) -> None:
    for name in names:
        if not _constraints(name):
            raise TypeError(f"no table has a constraint {name}: give the name that the model gives it")


def _require_fields(model: type[BaseModel], columns: Iterable[str]) -> None:
    has, wants = Counter(columns), Counter(list(model.model_fields))
    missing, surplus = sorted(wants - has), sorted(has - wants)
    if missing or surplus:
        differ = {"missing": missing, "too many": surplus}
        named = "; ".join(f"{what}: {', '.join(names)}" for what, names in differ.items() if names)
        raise TypeError(
            f"the statement's columns are not the fields of {model.__name__}; {named}: select these columns, or return"
            " another model"
        )


def _refuse_rows(sql: str, rows: Any) -> NoReturn:
    raise TypeError(f"the statement names no model of its rows: give the Statement returns=…, or run execute(): {sql}")


require_guard(Statement)

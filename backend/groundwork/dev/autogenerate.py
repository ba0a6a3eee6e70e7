"""Adds to Alembic's autogenerate: enum types, changed CHECKs, collations, and indexes that are built CONCURRENTLY.

It is a plugin of Alembic, which `groundwork.dev.migration` registers. It writes plain SQL, so that the production image
needs nothing of it.

The package alembic-postgresql-enum is not used, because its migrations call operations of its own: the production image
would have to carry it, and it removes a value by rewriting the table under a lock.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from textwrap import indent
from typing import Any, Literal, NamedTuple, cast

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import (
    AlterColumnOp,
    CreateIndexOp,
    CreateTableOp,
    DropIndexOp,
    DropTableOp,
    MigrateOperation,
    MigrationScript,
    ModifyTableOps,
    OpContainer,
    UpgradeOps,
)
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult, rev_id
from sqlalchemy import ARRAY, CheckConstraint, Connection, Enum, Table, TypeDecorator, inspect, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

# The name fits `alembic.autogenerate.*`, Alembic's pattern of the plugins that it runs by default.
_PLUGIN = "alembic.autogenerate.groundwork"
# With the usual style of parameters, every % would be doubled.
_DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
_quote = _DIALECT.identifier_preparer.quote

_CONCURRENTLY: dict[str, Any] = {"postgresql_concurrently": True}

logger = logging.getLogger("alembic.autogenerate")


class RunSQL(MigrateOperation):
    """A statement, and the one that undoes it.

    Args:
        undo: None if nothing undoes it.
        when: the migration that it is written into. `first` is a migration before the others, for a statement whose
            result can be used only after a commit. `last` is a migration after the others, for a statement that takes
            long, while the locks of earlier steps would be held. Both run outside the transaction.
    """

    def __init__(self, sql: str | None, undo: str | None, when: Literal["first", "amid", "last"] = "amid") -> None:
        self.sql = sql
        self.undo = undo
        self.when = when

    def reverse(self) -> "RunSQL":
        return RunSQL(self.undo, self.sql)

    def to_diff_tuple(self) -> tuple[str, str | None]:
        return ("run_sql", self.sql)


@renderers.dispatch_for(RunSQL)
def _render(_: AutogenContext, operation: RunSQL) -> list[str]:
    if operation.sql is None:
        return []
    line = f"op.execute({_escape(operation.sql)!r})"
    return [line if operation.when == "amid" else f"with op.get_context().autocommit_block(): {line}"]


class BuildIndex(MigrateOperation):
    """An index on an existing table. It is built while the service writes, in a migration of its own."""

    when = "indexes"

    def __init__(self, index: CreateIndexOp) -> None:
        self.index = index

    def reverse(self) -> DropIndexOp:
        return self.index.reverse()

    def to_diff_tuple(self) -> tuple[str, Any]:
        return self.index.to_diff_tuple()


@renderers.dispatch_for(BuildIndex)
def _render_build(context: AutogenContext, operation: BuildIndex) -> list[str]:
    index = operation.index
    index.kw["postgresql_concurrently"] = True
    drop = DropIndexOp(
        cast("str", index.index_name), index.table_name, schema=index.schema, if_exists=True, **_CONCURRENTLY
    )
    steps = [renderers.dispatch(each)(context, each) for each in (drop, index)]
    return [f"with op.get_context().autocommit_block():\n{indent(chr(10).join(steps), ' ' * 4)}"]


def _escape(sql: str) -> str:
    """The SQL for `text()`, with colons before words escaped. Otherwise `text()` takes such a word for a parameter."""
    return re.sub(r"(?<![:\w\\]):(?=\w+(?!:))", r"\:", sql)


def register() -> None:
    """Make Alembic's autogenerate, in this process, compare enum types, CHECK constraints and collations too."""
    plugin = Plugin(_PLUGIN)
    plugin.add_autogenerate_comparator(
        _compare, "schema", "enums, checks and collations", priority=DispatchPriority.LAST
    )


def split(_context: object, _revision: object, scripts: list[MigrationScript]) -> None:
    """Move the operations that run before the others, or after them, into migrations of their own."""
    (script,) = scripts
    parts: dict[str, list[MigrateOperation]] = {"first": [], "amid": [], "last": [], "indexes": []}
    for each in script.upgrade_ops.ops if script.upgrade_ops else ():
        parts[each.when if isinstance(each, RunSQL | BuildIndex) else "amid"].append(each)
    found = [(when, operations) for when, operations in parts.items() if operations]
    if not found:
        logger.warning("nothing is written: the models and the database agree (%s)", _BY_HAND)
        scripts.clear()
    if len(found) <= 1:
        return
    ending = {"first": " enum values", "amid": "", "last": " validate", "indexes": " indexes"}
    scripts.clear()
    head = script.head
    for when, operations in found:
        upgrade = UpgradeOps(operations)
        each = MigrationScript(
            rev_id(), upgrade, upgrade.reverse(), message=f"{script.message}{ending[when]}", head=head
        )
        scripts.append(each)
        head = str(each.rev_id)


_BY_HAND = 'for a migration that you write yourself, in backend/: python -m alembic revision -m "its name"'


def _compare(context: AutogenContext, upgrade: UpgradeOps, _schemas: object) -> PriorityDispatchResult:
    """Compare, and order the statements so that each finds what it needs, also in the reverse order of a downgrade."""
    context.opts["render_item"] = _render_enums(context.opts.get("render_item"))
    _convert_explicitly(upgrade)
    tables = list(context.sorted_tables)
    connection = cast("Connection", context.connection)
    built = [*_build_concurrently(upgrade, {_qualified(each.schema, each.name): each for each in tables})]
    leaving = [each.to_table() for each in upgrade.ops if isinstance(each, DropTableOp)]
    enums = _Enums.of(tables, connection, leaving)
    dropped, added = _compare_checks(tables, connection)
    upgrade.ops[:] = [
        *enums.extended,
        *enums.created,
        *dropped,
        *upgrade.ops,
        *_compare_collations(tables, connection),
        *added,
        *built,
        *enums.dropped,
    ]
    return PriorityDispatchResult.CONTINUE


def _build_concurrently(upgrade: UpgradeOps, tables: dict[str, Table]) -> Iterator[BuildIndex]:
    """Move the indexes on existing tables out of the operations, and yield each as a `BuildIndex`.

    An index on a partitioned table stays, because PostgreSQL cannot build it CONCURRENTLY.
    """
    created = {(each.schema, each.table_name) for each in upgrade.ops if isinstance(each, CreateTableOp)}
    for each in [*upgrade.ops]:
        if not isinstance(each, ModifyTableOps) or (each.schema, each.table_name) in created:
            continue
        table = tables.get(_qualified(each.schema, each.table_name))
        if table is None or table.dialect_options["postgresql"]["partition_by"]:
            continue
        indexes = [operation for operation in each.ops if isinstance(operation, CreateIndexOp)]
        each.ops[:] = [operation for operation in each.ops if operation not in indexes]
        if each.is_empty():
            upgrade.ops.remove(each)
        yield from map(BuildIndex, indexes)


# Enum types

_USERS = text(
    "SELECT attrelid::regclass::text FROM pg_attribute JOIN pg_type ON atttypid IN (pg_type.oid, typarray)"
    " JOIN pg_class ON pg_class.oid = attrelid AND relkind IN ('r', 'p') AND NOT relispartition"
    " WHERE pg_type.oid = to_regtype(:name) AND NOT attisdropped"
)


class _Enums(NamedTuple):
    created: list[MigrateOperation]
    extended: list[MigrateOperation]
    dropped: list[MigrateOperation]

    @classmethod
    def of(cls, tables: list[Table], connection: Connection, leaving: list[Table]) -> "_Enums":
        inspector = inspect(connection)
        schemas = {table.schema for table in tables} | {None}
        there = {
            _qualified(schema, each["name"]): [*each["labels"]]
            for schema in schemas
            for each in inspector.get_enums(schema)  # type: ignore[attr-defined]  # PostgreSQL's inspector has it
        }
        declared = {
            _qualified(type_.schema, str(type_.name)): [*type_.enums]
            for table in tables
            for column in table.columns
            if (type_ := _enum(column.type))
        }
        found = cls([], [], [])
        for name, labels in declared.items():
            if name not in there:
                found.created.append(RunSQL(_create(name, labels), f"DROP TYPE {name}"))
            else:
                found.extended.extend(_extend(name, there[name], labels))
        known = {_qualified(table.schema, table.name) for table in (*tables, *leaving)}
        for name in there.keys() - declared.keys():
            # A table that is not among the models may need the type.
            if {*connection.scalars(_USERS, {"name": name})} <= known:
                found.dropped.append(RunSQL(f"DROP TYPE {name}", _create(name, there[name])))
        return found


def _extend(name: str, there: list[str], declared: list[str]) -> Iterator[RunSQL]:
    """Add the new values. PostgreSQL cannot remove or move a value."""
    if gone := [label for label in there if label not in declared]:
        logger.warning(
            "the type %s keeps %s, which the model no longer has: PostgreSQL removes no value, and one that nobody"
            " writes does no harm (for a new name of it, write ALTER TYPE … RENAME VALUE instead)",
            name, ", ".join(gone),
        )  # fmt: skip
    last = None
    for label in declared:
        if label not in there:
            place = f"AFTER {_literal(last)}" if last else f"BEFORE {_literal(there[0])}"
            # A later migration may use the value. PostgreSQL allows that only after a commit.
            yield RunSQL(f"ALTER TYPE {name} ADD VALUE IF NOT EXISTS {_literal(label)} {place}", None, "first")
        last = label


def _enum(type_: Any) -> Enum | None:
    """The enum type that a column needs in the database."""
    while isinstance(type_, TypeDecorator | ARRAY):
        type_ = type_.load_dialect_impl(_DIALECT) if isinstance(type_, TypeDecorator) else type_.item_type
    return type_ if isinstance(type_, Enum) and type_.native_enum else None


def _render_enums(otherwise: Any) -> Any:
    """Write enum types with create_type=False. By default, `op.create_table` creates them, and `op.add_column` not."""

    def render(kind: str, item: Any, context: AutogenContext) -> str | Literal[False]:
        if kind == "type" and isinstance(item, Enum) and item.native_enum:
            context.imports.add("from sqlalchemy.dialects import postgresql")
            schema = f", schema={item.schema!r}" if item.schema else ""
            return f"postgresql.ENUM({', '.join(map(repr, item.enums))}, name={item.name!r}{schema}, create_type=False)"
        return otherwise(kind, item, context) if otherwise else False

    return render


def _convert_explicitly(operations: OpContainer) -> None:
    """Add USING where a column's type becomes an enum, or was one: PostgreSQL does not convert these by itself."""
    for number, each in enumerate(operations.ops):
        if isinstance(each, ModifyTableOps):
            _convert_explicitly(each)
        elif (
            isinstance(each, AlterColumnOp)
            and each.modify_type
            and (_enum(each.modify_type) or _enum(each.existing_type))
        ):
            table, column = _qualified(each.schema, each.table_name), _quote(each.column_name)
            old, new = (type_.compile(_DIALECT) for type_ in (each.existing_type, each.modify_type) if type_)
            alter = f"ALTER TABLE {table} ALTER COLUMN {column} TYPE"
            sql = RunSQL(f"{alter} {new} USING {column}::text::{new}", f"{alter} {old} USING {column}::text::{old}")
            each.modify_type = None
            operations.ops[number : number + 1] = [sql, each] if each.has_changes() else [sql]


def _create(name: str, labels: list[str]) -> str:
    return f"CREATE TYPE {name} AS ENUM ({', '.join(map(_literal, labels))})"


def _qualified(schema: str | None, name: str) -> str:
    return f"{_quote(schema)}.{_quote(name)}" if schema else _quote(name)


def _literal(value: str | None) -> str:
    return "'" + (value or "").replace("'", "''") + "'"


# Collations


def _compare_collations(tables: Iterable[Table], connection: Connection) -> Iterator[MigrateOperation]:
    """Statements that give columns their model's collation. There is one for each table, to build each index once."""
    for table in tables:
        if not inspect(connection).has_table(table.name, schema=table.schema):
            continue
        there = inspect(connection).get_columns(table.name, schema=table.schema)
        collations = {each["name"]: getattr(each["type"], "collation", None) for each in there}
        changes = [
            (f"ALTER COLUMN {_quote(column.name)} TYPE {type_}", column.type.collation, collations[column.name])
            for column in cast("Iterable[Any]", table.columns)
            if column.name in collations and hasattr(column.type, "collation") and not _enum(column.type)
            if column.type.collation != collations[column.name]
            for type_ in [column.type.compile(_DIALECT).partition(" COLLATE ")[0]]
        ]
        if changes:
            alter = f"ALTER TABLE {_qualified(table.schema, table.name)} "
            up = ", ".join(f"{change} COLLATE {_quote(new or 'default')}" for change, new, _ in changes)
            down = ", ".join(f"{change} COLLATE {_quote(old or 'default')}" for change, _, old in changes)
            yield RunSQL(alter + up, alter + down)


# CHECK constraints

_CHECKS = text(
    "SELECT conname, regexp_replace(pg_get_constraintdef(oid), ' NOT VALID$', '') FROM pg_constraint"
    " WHERE contype = 'c' AND conrelid = to_regclass(:name)"
)
_SCRATCH = "groundwork_scratch"


def _compare_checks(
    tables: Iterable[Table], connection: Connection
) -> tuple[list[MigrateOperation], list[MigrateOperation]]:
    """The statements that drop constraints that are gone or changed, and those that add new or changed ones."""
    dropped: list[MigrateOperation] = []
    added: list[MigrateOperation] = []
    for table in tables:
        name = _qualified(table.schema, table.name)
        if not inspect(connection).has_table(table.name, schema=table.schema):
            continue
        there = _definitions(connection, name)
        declared = _declared(connection, table, name)
        for check, definition in there.items() - declared.items():
            add = f"ALTER TABLE {name} ADD CONSTRAINT {check} {definition}"
            dropped.append(RunSQL(f"ALTER TABLE {name} DROP CONSTRAINT {check}", add))
        for check, definition in declared.items() - there.items():
            add = f"ALTER TABLE {name} ADD CONSTRAINT {check} {definition} NOT VALID"
            added.append(RunSQL(add, f"ALTER TABLE {name} DROP CONSTRAINT {check}"))
            added.append(RunSQL(f"ALTER TABLE {name} VALIDATE CONSTRAINT {check}", None, "last"))
    return dropped, added


def _definitions(connection: Connection, name: str) -> dict[str, str]:
    """The table's constraints in PostgreSQL's normal form, by their quoted names."""
    return {_quote(check): definition for check, definition in connection.execute(_CHECKS, {"name": name})}


def _declared(connection: Connection, table: Table, name: str) -> dict[str, str]:
    """The model's constraints in the same form, which PostgreSQL makes on an empty copy of the table.

    A constraint that names a new column does not fit the copy. It stays as it is written, and counts as changed.
    """
    written = str(CreateTable(table).compile(dialect=_DIALECT))
    found = {}
    with connection.begin_nested() as savepoint:
        connection.execute(text(f"CREATE TEMPORARY TABLE {_SCRATCH} (LIKE {name})"))
        named = (each for each in table.constraints if isinstance(each, CheckConstraint) and each.name is not None)
        for each in named:
            check = str(_DIALECT.identifier_preparer.format_constraint(each))
            # SQLAlchemy gives enums and booleans constraints that PostgreSQL does not need, and does not write them.
            if f"CONSTRAINT {check} CHECK" in written:
                kwargs = {"include_table": False, "literal_binds": True}
                definition = f"CHECK ({each.sqltext.compile(dialect=_DIALECT, compile_kwargs=kwargs)})"
                found[check] = _normalise(connection, check, definition)
        savepoint.rollback()
    return found


def _normalise(connection: Connection, check: str, definition: str) -> str:
    try:
        with connection.begin_nested() as savepoint:
            add = f"ALTER TABLE pg_temp.{_SCRATCH} ADD CONSTRAINT {check} {definition}"
            connection.execute(text(_escape(add)))
            normal = _definitions(connection, f"pg_temp.{_SCRATCH}")[check]
            savepoint.rollback()
    except DBAPIError:
        return definition
    return normal

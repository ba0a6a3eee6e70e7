"""`Statement` against SQLAlchemy's own engine: each reads the same values that the other wrote."""

import enum
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import BaseModel, ConfigDict, create_model
from pydantic.alias_generators import to_camel
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Time,
    TypeDecorator,
    Uuid,
    any_,
    bindparam,
    case,
    cast,
    column,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    select,
    table,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import INET, INT4RANGE, JSONB, Range
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel import Field, SQLModel, col

from groundwork.data.database import Database
from groundwork.data.known_tables import public
from groundwork.data.statement import Statement
from groundwork.tests.core import database_at


class Mood(enum.Enum):
    GOOD = "very good"
    BAD = "very bad"


class Tags(TypeDecorator[frozenset[str]]):
    """A set that is stored as a JSON array: a custom type, as SQLAlchemy's manual builds them."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: frozenset[str] | None, dialect: object) -> Any:
        return None if value is None else sorted(value)

    def process_result_value(self, value: Any, dialect: object) -> frozenset[str] | None:
        return None if value is None else frozenset(value)


class Cents(TypeDecorator[int]):
    """An amount in cents that is stored as NUMERIC."""

    impl = Numeric(12, 2)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: object) -> Any:
        return None if value is None else Decimal(value) / 100

    def process_result_value(self, value: Any, dialect: object) -> int | None:
        return None if value is None else int(value * 100)


metadata = MetaData()
samples = Table(
    "samples",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("string", String(50)),
    Column("text", Text),
    Column("integer", Integer),
    Column("bigint", BigInteger),
    Column("boolean", Boolean),
    Column("uuid", Uuid),
    Column("uuid_text", Uuid(as_uuid=False)),
    Column("timestamp", DateTime(timezone=True)),
    Column("naive_timestamp", DateTime),
    Column("date", Date),
    Column("time", Time),
    Column("interval", Interval),
    Column("numeric", Numeric(20, 5)),
    Column("numeric_as_float", Numeric(20, 5, asdecimal=False)),
    Column("float", Float),
    Column("float_as_decimal", Float(asdecimal=True)),
    Column("bytes", LargeBinary),
    Column("mood", Enum(Mood)),
    Column(
        "mood_by_value", Enum(Mood, name="mood_value", values_callable=lambda moods: [mood.value for mood in moods])
    ),
    Column("document", JSON),
    Column("document_or_null", JSON(none_as_null=True)),
    Column("jsonb", JSONB),
    Column("integers", ARRAY(Integer)),
    Column("texts", ARRAY(Text)),
    Column("numbers", ARRAY(Numeric)),
    Column("moods", ARRAY(Enum(Mood))),
    Column("documents", ARRAY(JSONB)),
    Column("tags", Tags),
    Column("cents", Cents),
    Column("range", INT4RANGE),
    Column("address", INET),
)

public(samples, reason="Of these tests.")

ROWS: list[dict[str, Any]] = [
    {
        "id": 1,
        "string": "größer, 'quoted', \\ and 👋",
        "text": "line\nline\t\u2028",
        "integer": -(2**31),
        "bigint": 2**63 - 1,
        "boolean": True,
        "uuid": UUID("0198c0de-7a3e-7c41-9d5b-3f6f0f1e2d3c"),
        "uuid_text": "0198c0de-7a3e-7c41-9d5b-3f6f0f1e2d3c",
        "timestamp": datetime(2026, 11, 23, 17, 39, 8, 123456, tzinfo=UTC),
        "naive_timestamp": datetime(2026, 3, 29, 2, 30),  # noqa: DTZ001
        "date": date(2000, 2, 29),
        "time": time(23, 59, 59, 999999),
        "interval": timedelta(days=-3, microseconds=7),
        "numeric": Decimal("123456789012345.12345"),
        "numeric_as_float": 1.5,
        "float": 0.1,
        "float_as_decimal": Decimal("0.2500000000"),
        "bytes": b"\x00\xff'\\",
        "mood": Mood.GOOD,
        "mood_by_value": Mood.BAD,
        "document": {"a": [1, 2.5, None, True, "ü"], "b": {"c": "\u2028"}},
        "document_or_null": ["x"],
        "jsonb": {"a": [1, 2.5, None, False, "ü"], "b": {"c": {}}},
        "integers": [1, -2, 3],
        "texts": ["a", "b,c", '"', ""],
        "numbers": [Decimal("1.10"), Decimal("-2")],
        "moods": [Mood.BAD, Mood.GOOD],
        "documents": [{"a": 1}, [2], "three"],
        "tags": frozenset({"one", "two"}),
        "cents": 1999,
        "range": Range(1, 10, bounds="[)"),
        "address": ip_address("2001:db8::1"),
    },
    {column.name: None for column in samples.c} | {"id": 2},
    {column.name: None for column in samples.c}
    | {
        "id": 3,
        "string": "",
        "boolean": False,
        "integer": 0,
        "float": float("inf"),
        "numeric": Decimal("0.00000"),
        "bytes": b"",
        "document": [],
        "document_or_null": {},
        "jsonb": "text",
        "integers": [],
        "texts": [""],
        "documents": [],
        "tags": frozenset(),
        "cents": 0,
    },
    {column.name: None for column in samples.c} | {"id": 4, "document": "", "jsonb": 0, "integers": [[1, 2], [3, 4]]},
    {column.name: None for column in samples.c} | {"id": 5, "document": False, "jsonb": [None], "numbers": [None]},
]
Sample = create_model("Sample", **dict.fromkeys(samples.c.keys(), (Any, ...)))  # type: ignore[call-overload]
Value = create_model("Value", value=(Any, ...))

INSERT = insert(samples).values({column.name: bindparam(column.name) for column in samples.c})
READ = select(samples).order_by(samples.c.id)
_INSERT: Statement[Any] = Statement(INSERT)
_READ = Statement(READ, returns=Sample)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """SQLAlchemy's engine for the same database, which has the table of samples."""
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield engine
    await engine.dispose()


@pytest.fixture
async def database(service_url: str, engine: AsyncEngine) -> AsyncIterator[Database]:
    async with database_at(service_url) as database:
        yield database


async def write_by_engine(engine: AsyncEngine, *rows: dict[str, Any]) -> None:
    async with engine.begin() as connection:
        for row in rows:
            await connection.execute(INSERT, row)


async def write_by_statement(database: Database, *rows: dict[str, Any]) -> None:
    for row in rows:
        assert await database.execute(_INSERT, **row) == 1


async def read_by_engine(engine: AsyncEngine, statement: Any = READ, **values: Any) -> list[dict[str, Any]]:
    async with engine.connect() as connection:
        return [dict(row) for row in (await connection.execute(statement, values)).mappings()]


def typed(rows: list[dict[str, Any]]) -> list[dict[str, tuple[type, str]]]:
    """The types and texts of all values, to compare them exactly: by type and by every digit."""
    return [{name: (type(value), repr(value)) for name, value in row.items()} for row in rows]


async def stored(connection: asyncpg.Connection) -> list[str]:
    return [record[0] for record in await connection.fetch("SELECT samples::text FROM samples ORDER BY id")]


async def test_rows_written_by_a_statement_are_those_that_the_engine_would_write(
    database: Database, engine: AsyncEngine, connection: asyncpg.Connection
) -> None:
    await write_by_engine(engine, *ROWS)
    by_engine = await stored(connection)
    await connection.execute("DELETE FROM samples")
    await write_by_statement(database, *ROWS)
    assert await stored(connection) == by_engine
    assert await read_by_engine(engine) == ROWS


async def test_rows_read_by_a_statement_are_those_that_the_engine_reads(
    database: Database, engine: AsyncEngine
) -> None:
    await write_by_engine(engine, *ROWS)
    read = [dict(row) for row in await database.all(_READ)]
    assert read == ROWS
    assert typed(read) == typed(await read_by_engine(engine))


async def test_values_fixed_in_the_statement_are_written_as_the_engine_writes_them(
    database: Database, engine: AsyncEngine, connection: asyncpg.Connection
) -> None:
    fixed = [insert(samples).values(row) for row in ROWS] + [
        insert(samples).values(id=6, document=null(), jsonb=JSON.NULL)
    ]
    async with engine.begin() as transaction:
        for statement in fixed:
            await transaction.execute(statement)
    by_engine = await stored(connection)
    await connection.execute("DELETE FROM samples")
    for statement in fixed:
        assert await database.execute(Statement(statement)) == 1
    assert await stored(connection) == by_engine


EXPRESSIONS: dict[str, Any] = {
    "count": func.count(),
    "sum of integers": func.sum(samples.c.integer),
    "sum of bigints, which PostgreSQL makes NUMERIC": func.sum(samples.c.bigint),
    "sum of numerics": func.sum(samples.c.numeric),
    "sum of floats": func.sum(samples.c.float),
    "average of integers": func.avg(samples.c.integer),
    "average of floats, said to be NUMERIC": func.avg(samples.c.float, type_=Numeric()),
    "average of integers, said to be FLOAT": func.avg(samples.c.integer, type_=Float()),
    "division": func.max(samples.c.integer) / 3,
    "numeric times float": func.max(samples.c.numeric * samples.c.float_as_decimal),
    "cast to numeric": cast(func.max(samples.c.integer), Numeric(30, 3)),
    "array_agg": func.array_agg(samples.c.numeric),
    "max of an enum": func.max(samples.c.mood),
    "case": case((func.count() > 1, literal(Mood.GOOD, Enum(Mood))), else_=literal(Mood.BAD, Enum(Mood))),
    "coalesce of JSON": func.coalesce(func.jsonb_agg(samples.c.jsonb), literal([], JSONB), type_=JSONB),
    "difference of timestamps": func.max(samples.c.timestamp) - func.min(samples.c.timestamp),
    "timestamp plus interval": func.max(samples.c.timestamp) + timedelta(days=1, seconds=1),
    "exists": exists().where(samples.c.id == 1),
    "literal null": null(),
    "bytes": func.max(cast(samples.c.bytes, Text)),
}
OF_ONE_ROW: dict[str, Any] = {
    "JSON member": samples.c.document["a"],
    "JSON path": samples.c.jsonb[("b", "c")],
    "JSON member as text": samples.c.document["b"]["c"].as_string(),
    "JSON member as number": samples.c.document["a"][1].as_float(),
    "JSON member as boolean": samples.c.jsonb["a"][3].as_boolean(),
    "array element": samples.c.integers[2],
    "array slice": samples.c.texts[1:2],
    "concatenation": samples.c.string + "!" + samples.c.text,
    "decorated": samples.c.tags,
    "decorated numeric": samples.c.cents,
    "range": samples.c.range,
    "extract": func.extract("epoch", samples.c.timestamp),
}


@pytest.mark.parametrize(
    "statement",
    [pytest.param(select(made.label("value")).select_from(samples), id=name) for name, made in EXPRESSIONS.items()]
    + [
        pytest.param(select(made.label("value")).where(samples.c.id == 1), id=name) for name, made in OF_ONE_ROW.items()
    ],
)
async def test_expressions_have_the_values_that_the_engine_gives_them(
    database: Database, engine: AsyncEngine, statement: Any
) -> None:
    await write_by_engine(engine, *ROWS)
    read = [dict(row) for row in await database.all(Statement(statement, returns=Value))]
    assert typed(read) == typed(await read_by_engine(engine, statement))


COMPARABLE = [column.name for column in samples.c if column.name not in ("document", "document_or_null", "tags")]


async def test_values_are_compared_as_the_engine_compares_them(database: Database, engine: AsyncEngine) -> None:
    await write_by_engine(engine, *ROWS)
    for name in COMPARABLE:
        statement = select(samples.c.id.label("value")).where(
            samples.c[name] == bindparam("wanted", type_=samples.c[name].type)
        )
        wanted = ROWS[0][name]
        read = [dict(row) for row in await database.all(Statement(statement, returns=Value), wanted=wanted)]
        assert read == await read_by_engine(engine, statement, wanted=wanted) == [{"value": 1}], name


class Numbers(BaseModel):
    id: int
    numeric: Decimal | None
    mood: Mood | None
    document: dict[str, Any] | None


async def test_rows_become_the_model_with_its_own_types(database: Database, engine: AsyncEngine) -> None:
    await write_by_engine(engine, *ROWS[:2])
    wanted = select(samples.c.id, samples.c.numeric, samples.c.mood, samples.c.document).order_by(samples.c.id)
    rows = await database.all(Statement(wanted, returns=Numbers))
    assert rows == [
        Numbers(id=1, numeric=ROWS[0]["numeric"], mood=Mood.GOOD, document=ROWS[0]["document"]),
        Numbers(id=2, numeric=None, mood=None, document=None),
    ]


class CamelCase(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    uuid_text: str


async def test_a_model_may_have_other_names_on_the_wire(database: Database, engine: AsyncEngine) -> None:
    await write_by_engine(engine, ROWS[0])
    row = await database.one(Statement(select(samples.c.uuid_text), returns=CamelCase))
    assert row is not None
    assert row.model_dump(by_alias=True) == {"uuidText": ROWS[0]["uuid_text"]}


async def test_one_gives_the_first_row_or_none(database: Database) -> None:
    statement = Statement(READ, returns=Sample)
    assert await database.one(statement) is None
    await write_by_statement(database, *ROWS)
    assert dict(await database.one(statement) or ()) == ROWS[0]


@pytest.mark.parametrize(
    ("statement", "touched"),
    [
        (insert(samples).values([{"id": 10}, {"id": 11}]), 2),
        (update(samples).values(integer=1), 5),
        (update(samples).where(samples.c.id > 3).values(integer=1).returning(samples.c.id), 2),
        (update(samples).where(samples.c.id > 99).values(integer=1), 0),
        (delete(samples).where(samples.c.id <= 3), 3),
        (READ, 5),
    ],
    ids=["insert", "update", "update returning", "update of nothing", "delete", "select"],
)
async def test_execute_counts_the_rows(database: Database, statement: Any, touched: int) -> None:
    await write_by_statement(database, *ROWS)
    assert await database.execute(Statement(statement)) == touched


async def test_limits_and_literals_are_part_of_the_statement(database: Database) -> None:
    await write_by_statement(database, *ROWS)
    statement = Statement(
        select(samples.c.id.label("value")).where(samples.c.id != 2).order_by(samples.c.id).limit(2).offset(1),
        returns=Value,
    )
    assert [row.model_dump() for row in await database.all(statement)] == [{"value": 3}, {"value": 4}]


async def test_a_name_may_stand_in_several_places(database: Database) -> None:
    statement = Statement(
        insert(samples)
        .values(id=bindparam("number"), integer=bindparam("number"), mood=bindparam("mood"))
        .returning(samples.c.id, samples.c.integer, samples.c.mood),
        returns=create_model("Made", id=int, integer=int, mood=Mood),
    )
    made = await database.one(statement, number=7, mood=Mood.BAD)
    assert made is not None
    assert made.model_dump() == {"id": 7, "integer": 7, "mood": Mood.BAD}


async def test_any_of_an_array_does_what_in_cannot(database: Database) -> None:
    await write_by_statement(database, *ROWS)
    statement = Statement(
        select(samples.c.id.label("value"))
        .where(samples.c.id == any_(bindparam("ids", type_=ARRAY(Integer))))
        .order_by("id"),
        returns=Value,
    )
    assert [row.model_dump()["value"] for row in await database.all(statement, ids=[3, 1, 99])] == [1, 3]


async def test_unions_are_read_by_the_first_ones_columns(database: Database) -> None:
    await write_by_statement(database, *ROWS)
    both = union_all(
        select(samples.c.id, samples.c.document).where(samples.c.id == 1),
        select(samples.c.id, samples.c.document).where(samples.c.id == 5),
    )
    rows = await database.all(Statement(both, returns=create_model("Document", id=int, document=(Any, ...))))
    assert [row.model_dump()["document"] for row in rows] == [ROWS[0]["document"], False]


class Renamed(SQLModel, table=True):
    metadata = MetaData()

    id: int = Field(primary_key=True)
    shown: str = Field(sa_column=Column("kept", String))


public(Renamed, reason="Of these tests.")


class Shown(BaseModel):
    id: int
    shown: str


WITH_DEFAULT = Table("with_default", MetaData(), Column("id", Integer), Column("made", Integer, default=lambda: 1))
WITH_ONUPDATE = Table("with_onupdate", MetaData(), Column("id", Integer), Column("made", Integer, onupdate=lambda: 1))
for _table in (WITH_DEFAULT, WITH_ONUPDATE):
    public(_table, reason="Of these tests.")
Id = create_model("Id", id=(int, ...))

REFUSED_AT_IMPORT: dict[str, tuple[Callable[[], Statement[Any]], str]] = {
    "a list of pairs": (
        lambda: Statement(select(samples).where(tuple_(samples.c.id, samples.c.text).in_(bindparam("pairs")))),
        "unnest",
    ),
    "literal_execute": (
        lambda: Statement(select(samples).where(samples.c.id == bindparam("id", literal_execute=True))),
        "literal_execute",
    ),
    "a default in Python": (lambda: Statement(insert(WITH_DEFAULT).values(id=1)), "made"),
    "a default in Python, a list of rows": (lambda: Statement(insert(WITH_DEFAULT).values([{"id": 1}])), "made"),
    "a default in Python, several rows": (
        lambda: Statement(insert(WITH_DEFAULT).values([{"id": 1}, {"id": 2}])),
        r"^\['made'\] would",
    ),
    "an onupdate in Python": (lambda: Statement(update(WITH_ONUPDATE).values(id=1)), "made"),
    "a value computed at each run": (
        lambda: Statement(select(samples).where(samples.c.id == bindparam("id", callable_=lambda: 1))),
        "each run",
    ),
    "a column too many": (lambda: Statement(select(samples.c.id, samples.c.text), returns=Id), "text"),
    "a column too few": (lambda: Statement(select(samples.c.id), returns=Numbers), "numeric"),
    "no columns": (lambda: Statement(delete(samples), returns=Id), "fields of Id"),
    "one name for two columns": (lambda: Statement(select(samples.c.id, WITH_DEFAULT.c.id), returns=Id), "id_1"),
    "a column without a name": (
        lambda: Statement(select(func.count()), returns=create_model("Count", count=(int, ...))),
        "count_1",
    ),
    "a column of another name than its field": (lambda: Statement(select(Renamed), returns=Shown), "kept"),
}


@pytest.mark.parametrize(("make", "says"), REFUSED_AT_IMPORT.values(), ids=REFUSED_AT_IMPORT.keys())
def test_what_needs_the_engine_at_run_time_is_refused_at_import(make: Callable[[], Statement[Any]], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        make()


def test_columns_that_are_not_the_fields_are_named() -> None:
    wanted = create_model("Wanted", id=int, due=str, text=str)
    columns = (samples.c.id, samples.c.text.label("title"), samples.c.text.label("body"))
    says = "the statement's columns are not the fields of Wanted; missing: due, text; too many: body, title"
    with pytest.raises(TypeError, match=f"^{says}: select these columns, or return another model$"):
        Statement(select(*columns), returns=wanted)


async def test_rows_of_a_statement_without_a_model_are_refused(database: Database) -> None:
    says = re.escape("give the Statement returns=…, or run execute(): SELECT $1")
    for read in (database.one, database.all):
        with pytest.raises(TypeError, match=says):
            await read(Statement(select(literal(1).label("one"))))


def test_defaults_that_the_server_computes_are_not_refused() -> None:
    table = Table(
        "t", MetaData(), Column("id", Integer), Column("made", DateTime, default=func.now(), onupdate=func.now())
    )
    public(table, reason="Of this test.")
    assert Statement(insert(table).values(id=1)).sql == "INSERT INTO t (id, made) VALUES ($1::INTEGER, now())"
    assert Statement(update(table).values(id=1)).sql == "UPDATE t SET id=$1::INTEGER, made=now()"


def test_a_statement_that_writes_in_any_part_is_no_read() -> None:
    things = public(table("things", column("id")), reason="Of this test.")
    ids: Any = select(things.c.id)
    added = insert(things).values(id=1).returning(things.c.id).cte()
    assert Statement(ids).reads
    assert Statement(union_all(ids, ids)).reads
    assert not Statement(delete(things)).reads
    assert not Statement(select(added.c.id)).reads


def test_a_renamed_column_is_read_under_a_label() -> None:
    statement = Statement(select(col(Renamed.id), col(Renamed.shown).label("shown")), returns=Shown)
    assert "kept AS shown" in statement.sql


@pytest.mark.parametrize(
    "values",
    [{}, {"id": 1}, {"id": 1, "text": "a", "more": 1}, {"id": 1, "name": "a"}],
    ids=["none", "few", "many", "wrong"],
)
def test_values_that_are_not_those_of_the_statement_are_refused(values: dict[str, Any]) -> None:
    statement: Statement[Any] = Statement(insert(samples).values(id=bindparam("id"), text=bindparam("text")))
    with pytest.raises(TypeError, match=r"takes \['id', 'text'\]"):
        statement.arguments(values)


def test_arguments_stand_in_the_order_of_their_places() -> None:
    statement: Statement[Any] = Statement(
        select(samples).where(samples.c.text == bindparam("b"), samples.c.id == 5, samples.c.string == bindparam("a"))
    )
    assert statement.arguments({"a": "first", "b": "second"}) == ["second", 5, "first"]

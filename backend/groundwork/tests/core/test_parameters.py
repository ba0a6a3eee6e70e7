"""Lists as one parameter, and values that occur several times: what PostgreSQL gets and returns."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum as PythonEnum
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import BaseModel
from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    Time,
    Uuid,
    bindparam,
    func,
    literal,
    not_,
    or_,
    select,
)

from groundwork.data.known_tables import public
from groundwork.data.statement import Statement
from groundwork.tests.core import database_at


class Mood(PythonEnum):
    good = "fine"
    bad = "poor"


class Value(BaseModel):
    value: Any


VALUES: dict[str, tuple[Any, list[Any]]] = {
    "text": (Text(), ["a", "", 'q"uote', "back\\slash", "{br,ace}", "NULL", " a ", "ü€🎈", "\t\n"]),
    "integer": (Integer(), [0, -1, 2**31 - 1]),
    "numeric": (Numeric(10, 2), [Decimal("12.50"), Decimal("-0.01")]),
    "boolean": (Boolean(), [True, False]),
    "uuid": (Uuid(), [UUID(int=1), UUID(int=2**128 - 1)]),
    "timestamp": (DateTime(timezone=True), [datetime(2026, 1, 2, 3, 4, 5, 6, UTC), datetime(1999, 1, 1, tzinfo=UTC)]),
    "date": (Date(), [date(2026, 1, 2), date(1, 1, 2)]),
    "time": (Time(), [time(3, 4, 5, 6)]),
    "bytes": (LargeBinary(), [b"", b"\\x00\x00\xff'\""]),
    "enumeration": (Enum(Mood, native_enum=False), [Mood.good, Mood.bad]),
}


def _table(type_: Any) -> Any:
    return public(Table("list_values", MetaData(), Column("value", type_)), reason="Of these tests.")


@pytest.mark.parametrize(("type_", "values"), VALUES.values(), ids=VALUES)
async def test_in_takes_a_list_as_one_parameter(
    service_url: str, connection: asyncpg.Connection, type_: Any, values: list[Any]
) -> None:
    table = _table(type_)
    column = table.c.value
    chosen = Statement(select(column).where(column.in_(bindparam("values"))), returns=Value)
    others = Statement(select(column).where(column.not_in(bindparam("values"))), returns=Value)
    insert = Statement[Any](table.insert().values(value=bindparam("value")))
    await connection.execute(f"CREATE TABLE list_values (value {_name(type_)})")
    try:
        async with database_at(service_url) as database:
            for value in values:
                await database.execute(insert, value=value)
            await connection.execute("INSERT INTO list_values VALUES (NULL)")
            for value in values:
                assert [row.value for row in await database.all(chosen, values=[value])] == [value]
                found = [row.value for row in await database.all(others, values=[value])]
                assert found == [each for each in values if each != value]
            assert [row.value for row in await database.all(chosen, values=[*values, None])] == values
            assert await database.all(chosen, values=[]) == []
            assert await database.all(chosen, values=None) == []
            assert len(await database.all(others, values=[])) == len(values) + 1
            assert await database.all(others, values=[None]) == []
    finally:
        await connection.execute("DROP TABLE list_values")


def _name(type_: Any) -> str:
    names = {"DateTime": "timestamptz", "LargeBinary": "bytea", "Enum": "text"}
    return names.get(type(type_).__name__, type(type_).__name__)


def test_in_takes_a_fixed_list() -> None:
    column = _table(Integer()).c.value
    statement: Statement[Any] = Statement(select(column).where(column.in_([1, 2]), column.not_in([3])))
    assert statement.sql.count("$") == 2
    assert statement.arguments({}) == ['{"1","2"}', '{"3"}']


async def test_a_value_that_occurs_several_times_is_one_parameter(
    service_url: str, connection: asyncpg.Connection
) -> None:
    table = _table(DateTime(timezone=True))
    by_day = Statement(
        select(func.count().label("value"))
        .select_from(table)
        .group_by(func.date_trunc("day", table.c.value))
        .order_by(func.date_trunc("day", table.c.value)),
        returns=Value,
    )
    assert by_day.sql.count("$1") == 2
    await connection.execute("CREATE TABLE list_values (value timestamptz)")
    try:
        await connection.execute(
            "INSERT INTO list_values VALUES ('2026-01-01 10:00Z'), ('2026-01-01 12:00Z'), ('2026-01-03 12:00Z')"
        )
        async with database_at(service_url) as database:
            assert [row.value for row in await database.all(by_day)] == [2, 1]
    finally:
        await connection.execute("DROP TABLE list_values")


def test_values_of_different_types_stay_apart() -> None:
    same: tuple[Any, ...] = (literal(1), literal(True), literal(1.0), literal("1"), literal(1, Numeric()))
    statement: Statement[Any] = Statement(select(*(each.label(f"v{place}") for place, each in enumerate(same))))
    assert [(type(each), each) for each in statement.arguments({})] == [
        (int, 1), (bool, True), (float, 1.0), (str, "1"), (int, 1)
    ]  # fmt: skip


def test_named_parameters_stay_apart() -> None:
    statement: Statement[Any] = Statement(select(bindparam("a", type_=Text()), bindparam("b", type_=Text())))
    assert statement.arguments({"a": "x", "b": "x"}) == ["x", "x"]
    assert "$2" in statement.sql


def test_words_are_looked_for_with_the_operators_of_sqlalchemy() -> None:
    column = _table(Text()).c.value
    word = bindparam("word", type_=Text())
    conditions = (column.startswith(word), column.icontains(word), column.endswith("%", autoescape=True))
    statement: Statement[Any] = Statement(select(column).where(or_(*conditions, not_(column.contains(word)))))
    assert "LIKE" in statement.sql

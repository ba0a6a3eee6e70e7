"""A list meets each row once whatever its column holds: also what only SQL can write, at the edges of each type."""

from collections.abc import AsyncIterator, Iterator
from datetime import date, datetime
from decimal import Decimal
from itertools import product
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import Depends
from pydantic import AllowInfNan, BaseModel
from sqlalchemy import REAL, BigInteger, DateTime, Index, MetaData, Numeric, SmallInteger, bindparam
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import CITEXT
from sqlalchemy.orm import registry
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlmodel import Field, SQLModel, col, select

from groundwork import ids
from groundwork.data.listing import Listing
from groundwork.data.ownership import owned
from groundwork.data.tables import owner_column
from groundwork.data.values import enum_text
from groundwork.http.ordering import Page, pages
from groundwork.http.routing import DatabaseDependency, UserId, router_of
from groundwork.serve.application import create_app
from groundwork.serve.settings import Settings
from groundwork.testing import statements
from groundwork.testing.contract.paging import ids_from
from groundwork.testing.http import assert_problem, client_of
from groundwork.tests.errands import Status

_DATES = ["-infinity", "0001-01-01", "0001-01-02", "9999-12-30", "9999-12-31", "infinity"]
_MOMENTS = [
    "-infinity",
    "0001-01-01 00:00:00{}",
    "0001-01-01 00:00:00.000001{}",
    "9999-12-31 23:59:59.999998{}",
    "9999-12-31 23:59:59.999999{}",
    "infinity",
]
# Those of a column in their order, as PostgreSQL reads them.
EDGES = {
    "day": _DATES,
    "moment": [each.format("+00") for each in _MOMENTS],
    "naive": [each.format("") for each in _MOMENTS],
    "free": ["-Infinity", "-1e131071", "-1e-1000", "0", "1e-16383", "1e131071", "Infinity", "NaN"],
    "price": ["-99999999.99", "0", "0.01", "99999999.99", "NaN"],
    "weight": ["-Infinity", "-1.7976931348623157e308", "0", "5e-324", "Infinity", "NaN"],
    "single": ["-Infinity", "-3.4028235e38", "-1e-45", "0.1", "3.4028235e38", "Infinity", "NaN"],
    "small": ["-32768", "0", "32767"],
    "whole": ["-2147483648", "2147483647"],
    "big": ["-9223372036854775808", "9223372036854775807"],
    "title": ["", " ", "\x01", "\uffff", "\U0010ffff"],
    "nickname": ["", "a", "Z", "ß"],
    "done": ["false", "true"],
    "parent": [str(UUID(int=0)), str(UUID(int=2**128 - 1))],
    "status": ["done", "late", "open"],
    "native": ["open", "done", "late"],
}
Unbounded = Annotated[Decimal, AllowInfNan(True)]


class Base(SQLModel, registry=registry()):
    metadata = MetaData()


class Edge(Base, table=True):
    __tablename__ = "edges"
    __table_args__ = tuple(Index(f"edges_{name}_idx", "user_id", name, "id") for name in EDGES)

    user_id: str = owner_column()
    id: UUID = Field(primary_key=True)
    day: date | None
    moment: datetime | None = Field(sa_type=DateTime(timezone=True))
    naive: datetime | None = Field(sa_type=DateTime())
    free: Decimal | None = Field(sa_type=Numeric())
    price: Decimal | None = Field(sa_type=Numeric(10, 2))
    weight: float | None
    single: float | None = Field(sa_type=REAL)
    small: int | None = Field(sa_type=SmallInteger)
    whole: int | None
    big: int | None = Field(sa_type=BigInteger)
    title: str | None
    nickname: str | None = Field(sa_type=CITEXT)
    done: bool | None
    parent: UUID | None
    status: Status | None = Field(sa_type=enum_text(Status))
    native: Status | None = Field(sa_type=enum_text(Status, native=True))


class EdgeRead(BaseModel):
    user_id: str
    id: UUID
    day: date | None
    moment: datetime | None
    naive: datetime | None
    free: Unbounded | None
    price: Unbounded | None
    weight: float | None
    single: float | None
    small: int | None
    whole: int | None
    big: int | None
    title: str | None
    nickname: str | None
    done: bool | None
    parent: UUID | None
    status: Status | None
    native: Status | None


class Shown(BaseModel):
    id: UUID


ROWS = select(Edge).where(owned(Edge))
LAST = Listing(ROWS, EdgeRead, orders=[col(getattr(Edge, name)) for name in EDGES])
FIRST = Listing(
    ROWS,
    EdgeRead,
    orders=[col(getattr(Edge, name)).nulls_first() for name in EDGES],
    filters=[col(Edge.title) == bindparam("title")],
)
last, first = router_of("last"), router_of("first")


@last.get("", response_model=list[Shown])
async def nulls_last(
    user_id: UserId, database: DatabaseDependency, page: Annotated[Page[EdgeRead], Depends(pages(LAST))]
) -> Any:
    return await page(database, owner=user_id)


@first.get("", response_model=list[Shown])
async def nulls_first(
    user_id: UserId,
    database: DatabaseDependency,
    page: Annotated[Page[EdgeRead], Depends(pages(FIRST))],
    title: str | None = None,
) -> Any:
    return await page(database, owner=user_id, title=title)


@pytest.fixture(autouse=True)
def edges_are_owned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "owned_tables", lambda: ["edges"])
    monkeypatch.setattr(statements, "_users_columns", lambda: {"edges": "user_id"})


@pytest.fixture
async def client(settings: Settings, connection: asyncpg.Connection) -> AsyncIterator[httpx.AsyncClient]:
    await connection.execute("CREATE EXTENSION citext; CREATE TYPE status AS ENUM ('open', 'done', 'late')")
    for sql in _tables():
        await connection.execute(sql)
    app = create_app(settings, resources=[last, first])
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


def _tables() -> Iterator[str]:
    table: Any = Edge.__table__  # type: ignore[attr-defined]
    elements: list[Any] = [CreateTable(table), *map(CreateIndex, table.indexes)]
    for element in elements:
        yield str(element.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


async def insert(connection: asyncpg.Connection, column: str, values: list[str | None]) -> None:
    """Two rows with each value. The row with the smaller value has not always the smaller id."""
    for value in [*values, *reversed(values)]:
        await connection.execute(
            f'INSERT INTO edges (user_id, id, "{column}") SELECT \'alice\', $1, "{column}"'
            f" FROM json_populate_record(NULL::edges, json_build_object('{column}', $2::text))",
            ids.new_row()["id"],
            value,
        )


@pytest.mark.parametrize("column", EDGES)
async def test_pages_meet_each_row_once(client: httpx.AsyncClient, connection: asyncpg.Connection, column: str) -> None:
    await insert(connection, column, [*EDGES[column], None])
    if column != "title":
        await connection.execute("UPDATE edges SET title = 'a'")
    for sign, nulls, limit in product(("", "-"), ("first", "last"), (1, 2, 3)):
        direction = "DESC" if sign else "ASC"
        expected = await connection.fetch(
            f'SELECT id FROM edges ORDER BY "{column}" {direction} NULLS {nulls}, id {direction}'
        )
        query = f"sort={sign}{column}&limit={limit}" + ("&title=a" if nulls == "first" and column != "title" else "")
        found = await ids_from(client, f"/api/alice/{nulls}?{query}")
        assert found == [str(row["id"]) for row in expected], (sign, nulls, limit)


@pytest.mark.parametrize(("column", "value"), [("free", "9" * 3000), ("title", "x" * 3000)])
async def test_a_value_that_is_longer_than_a_cursor_is_refused(
    client: httpx.AsyncClient,
    connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
    column: str,
    value: str,
) -> None:
    await insert(connection, column, [value])
    assert_problem(await client.get("/api/alice/last", params={"sort": column, "limit": 1}), 500)
    assert f"the Edge.{column} of the row" in caplog.text
    assert len(await ids_from(client, f"/api/alice/last?sort={column}")) == 2

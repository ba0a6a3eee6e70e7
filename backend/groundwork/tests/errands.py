"""A resource for tests: errands. Their list can be sorted by columns of many types, with and without nulls."""

import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from secrets import token_hex
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query
from pydantic import AwareDatetime, BaseModel
from sqlalchemy import BigInteger, DateTime, Enum, Index, Numeric, SmallInteger, bindparam
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import registry
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlmodel import Field, SQLModel, col, select

from groundwork.data.listing import Listing
from groundwork.data.ownership import owned
from groundwork.data.tables import owner_column
from groundwork.http.ordering import SORTED, Page, pages
from groundwork.http.routing import DatabaseDependency, UserId, router_of
from groundwork.serve import application
from groundwork.serve.application import Application
from groundwork.serve.settings import Settings
from groundwork.testing import postgres
from groundwork.testing.resource import Resource
from groundwork.text import Text


class Status(StrEnum):
    OPEN = "open"
    DONE = "done"
    LATE = "late"


class Base(SQLModel, registry=registry()):
    """Models of these tests, apart from the service's."""


_SORTED = (
    "title",
    "due_at",
    "rank",
    "steps",
    "size",
    "price",
    "weight",
    "day",
    "urgent",
    "parent_id",
    "status",
    "read_at",
)


class Errand(Base, table=True):
    __tablename__ = "errands"
    __table_args__ = tuple(Index(f"errands_{name}_idx", "user_id", name, "id") for name in _SORTED)

    user_id: str = owner_column()
    id: UUID = Field(primary_key=True)
    title: str = Field(max_length=200)
    due_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    rank: int | None = None
    steps: int | None = Field(default=None, sa_type=SmallInteger)
    size: int | None = Field(default=None, sa_type=BigInteger)
    price: Decimal | None = Field(default=None, sa_type=Numeric(10, 2))
    weight: float | None = None
    day: date | None = None
    urgent: bool | None = None
    parent_id: UUID | None = None
    status: Status | None = Field(
        default=None,
        sa_type=Enum(Status, native_enum=False, values_callable=lambda kind: [each.value for each in kind]),
    )
    read_at: datetime | None = Field(default=None, sa_type=DateTime())


class ErrandRead(BaseModel):
    id: UUID
    user_id: str
    title: str
    due_at: datetime | None
    rank: int | None
    steps: int | None
    size: int | None
    price: Decimal | None
    weight: float | None
    day: date | None
    urgent: bool | None
    parent_id: UUID | None
    status: Status | None
    read_at: datetime | None


LIST = Listing(
    select(Errand).where(owned(Errand)),
    returns=ErrandRead,
    orders=[
        col(Errand.rank).nulls_first(),
        *(col(getattr(Errand, name)) for name in _SORTED if name != "rank"),
    ],
    filters=[
        col(Errand.status).in_(bindparam("status")),
        col(Errand.due_at) >= bindparam("due_from"),
        col(Errand.due_at) < bindparam("due_before"),
        col(Errand.title).icontains(bindparam("word")),
    ],
)

router = router_of("errands")


@router.get("", responses=SORTED)
async def list_errands(
    user_id: UserId,
    database: DatabaseDependency,
    page: Annotated[Page[ErrandRead], Depends(pages(LIST))],
    status: Annotated[list[Status] | None, Query()] = None,
    due_from: AwareDatetime | None = None,
    due_before: AwareDatetime | None = None,
    word: Annotated[str, Text(100)] | None = None,
) -> list[ErrandRead]:
    """The user's errands."""
    word = word and re.sub(r"([\\%_])", r"\\\1", word)
    return await page(database, owner=user_id, status=status, due_from=due_from, due_before=due_before, word=word)


plain = router_of("plain")


@plain.get("", responses=SORTED)
async def list_by_due_date(
    user_id: UserId,
    database: DatabaseDependency,
    page: Annotated[Page[ErrandRead], Depends(pages(LIST, default="due_at"))],
) -> list[ErrandRead]:
    """The same list without filters, which a plain route serves."""
    return await page(database, owner=user_id)


def create_app(settings: Settings, *, fast: bool = True) -> Application:
    return application.create_app(settings, resources=[router, plain], fast=fast)


def tables() -> Iterator[str]:
    """The SQL that creates the table and its indexes."""
    table: Any = Errand.__table__  # type: ignore[attr-defined]
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    elements: list[Any] = [CreateTable(table), *map(CreateIndex, table.indexes)]
    for element in elements:
        yield str(element.compile(dialect=dialect))


def create_template(server: postgres.Server, template: str) -> str:
    """Create a copy of the database with the table in it. Returns its name."""
    name = f"errands_{token_hex(4)}"
    server.create_database(name, template)
    for sql in tables():
        server.execute(sql, name)
    return name


ERRAND = Resource(
    "errand",
    text="title",
    optional={"due_at": "2026-12-24T18:00:00+00:00"},
    sorts={
        "title": ["", "Buy", "Sell é'\"\\", "Wait \uffff\U0001f600"],
        "due_at": ["0001-01-02T00:00:00+00:00", "2026-12-24T18:00:00.000001+00:00", "9999-12-31T23:59:59+00:00", None],
        "rank": [None, -(2**31), 0, 2**31 - 1],
        "steps": [-(2**15), 2**15 - 1, None],
        "size": [-(2**63), 2**63 - 1, None],
        "price": ["-99999999.99", "0.10", "12.50", None],
        "weight": ["-Infinity", 0.1, 0.30000000000000004, "NaN", None],
        "day": ["0001-01-02", "2026-02-28", None],
        "urgent": [False, True, None],
        "parent_id": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", None],
        "status": ["done", "late", "open", None],
        "read_at": ["2026-03-29T02:30:00", "2026-03-29T02:30:00.5", None],
    },
)

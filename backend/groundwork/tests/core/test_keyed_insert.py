"""Which inserts can be made once for each key by one statement, and what row they are expected to return."""

import enum
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import BaseModel
from sqlalchemy import JSON, Column, DateTime, Enum, MetaData, Numeric, Uuid, bindparam, func, insert, select
from sqlalchemy.dialects import postgresql
from sqlmodel import Field, SQLModel, col

from groundwork import ids
from groundwork.data.keyed_insert import key_arguments, keyed_insert
from groundwork.data.ownership import OWNER_ID
from groundwork.data.statement import Statement
from groundwork.data.tables import owner_column
from groundwork.testing.http import statements_reported
from groundwork.testing.statements import Sent
from groundwork.tests.core import BOTH_WAYS, database_at


class Base(SQLModel):
    metadata = MetaData()


class Colour(enum.Enum):
    RED = "red"


class Parcel(Base, table=True):
    user_id: str = owner_column()
    id: UUID = Field(primary_key=True)
    label: str
    count: int
    sealed: bool
    due: date
    sent_at: datetime = Field(sa_type=DateTime(timezone=True))
    local_at: datetime
    weight: Decimal = Field(sa_type=Numeric(5, 2))
    colour: Colour = Field(sa_type=Enum(Colour))
    more: dict[str, Any] = Field(sa_column=Column(JSON))
    text_id: str = Field(sa_type=Uuid(as_uuid=False))
    kept_key: str


KNOWN = {
    "user_id": OWNER_ID,
    **{name: bindparam(name) for name in ("id", "label", "count", "sealed", "due", "sent_at")},
}


def statement(source: Any) -> Statement[Any]:
    return Statement(source)


def inserting(*names: str, **more: Any) -> Any:
    values = {name: value for name, value in KNOWN.items() if name in ("user_id", "id", *names)}
    values |= {name: bindparam(name) if value is None else value for name, value in more.items()}
    return insert(Parcel).values(values).returning(*(getattr(Parcel, name) for name in values))


@pytest.mark.parametrize(
    "source",
    [
        inserting(),
        inserting("label", "count", "sealed", "due", "sent_at"),
        inserting("label", count=7),
        insert(Parcel).values(KNOWN).returning(col(Parcel.id)),
    ],
)
def test_an_insert_of_parameters_that_returns_them_is_known(source: Any) -> None:
    assert keyed_insert(statement(source))


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(select(Parcel.id).where(Parcel.user_id == OWNER_ID), id="no insert"),  # type: ignore[call-overload]
        pytest.param(insert(Parcel).values(KNOWN), id="returns nothing"),
        pytest.param(insert(Parcel).values(KNOWN).returning(col(Parcel.kept_key)), id="returns what it does not set"),
        pytest.param(insert(Parcel).values(KNOWN).returning(func.upper(Parcel.label).label("label")), id="computes"),
        pytest.param(inserting(label=func.upper(bindparam("label"))), id="sets what the database computes"),
        pytest.param(inserting(local_at=None), id="time without a zone"),
        pytest.param(inserting(weight=None), id="rounded number"),
        pytest.param(inserting(colour=None), id="enum"),
        pytest.param(inserting(more=None), id="json"),
        pytest.param(inserting(text_id=None), id="uuid as text"),
        pytest.param(inserting(kept_key=None), id="a parameter of the key's own name"),
        pytest.param(
            postgresql.insert(Parcel).values(KNOWN).on_conflict_do_nothing().returning(col(Parcel.id)), id="on conflict"
        ),
        pytest.param(
            inserting("label").add_cte(insert(Parcel).values(KNOWN).cte("another")), id="writes something else too"
        ),
    ],
)
def test_any_other_insert_is_not(source: Any) -> None:
    assert keyed_insert(statement(source)) is None


def test_an_insert_has_one_statement() -> None:
    plain = statement(inserting("label"))
    assert keyed_insert(plain) is keyed_insert(plain)


def test_a_moment_is_expected_in_utc() -> None:
    """The driver returns it so. Otherwise the answer to a create would differ from that to a get."""
    keyed = keyed_insert(statement(inserting("sent_at", "label", count=7)))
    assert keyed
    moment = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    row = keyed.predict({"owner": "alice", "id": ids.uuid7(), "label": "x", "sent_at": moment})
    assert row
    assert row["sent_at"].isoformat() == "2026-01-01T10:00:00+00:00"
    assert (row["user_id"], row["label"], row["count"]) == ("alice", "x", 7)
    nothing = keyed.predict({"owner": "alice", "id": None, "label": "x", "sent_at": None})
    assert nothing
    assert nothing["sent_at"] is None


@pytest.mark.parametrize("moment", [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)])
def test_nothing_is_expected_of_a_moment_that_the_driver_takes_for_infinity(moment: datetime) -> None:
    keyed = keyed_insert(statement(inserting("sent_at")))
    assert keyed
    assert keyed.predict({"owner": "alice", "id": None, "sent_at": moment}) is None


class _Read(BaseModel):
    user_id: str
    id: UUID
    label: str
    count: int
    sealed: bool
    due: date
    sent_at: datetime


@pytest.mark.parametrize("kind", BOTH_WAYS)
async def test_the_database_returns_the_expected_row(
    connection: asyncpg.Connection, service_url: str, kind: Any, sent_statements: list[Sent]
) -> None:
    await connection.execute(
        "CREATE TABLE parcel (user_id varchar(255), id uuid, label varchar, count integer, sealed boolean, due date,"
        " sent_at timestamptz)"
    )
    plain: Statement[Any] = Statement(inserting("label", "count", "sealed", "due", "sent_at"), returns=_Read)
    keyed = keyed_insert(plain)
    assert keyed
    values: dict[str, Any] = {
        "owner": "alice",
        "id": ids.uuid7(),
        "label": "Größe \N{WAVING HAND SIGN} \\ ' \x01 ",
        "count": -(2**31),
        "sealed": True,
        "due": date(1, 1, 1),
        "sent_at": datetime(9999, 12, 31, 23, 59, 59, 999998, tzinfo=UTC),
    }
    async with database_at(service_url, pool_size=1, kind=kind) as database:
        row: Any = await database.one(keyed, **values, **key_arguments("key", b"", "{}"))
        expected = keyed.predict(values)
        assert expected
        assert row == expected
        assert plain.row(row).model_dump_json() == plain.row(expected).model_dump_json()
    await statements_reported()
    sent_statements.clear()  # no other database has the table

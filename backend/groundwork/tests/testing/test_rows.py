"""How tests of a service prepare the rows of groups, and which owners the service's statements name."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import registry
from sqlalchemy.schema import CreateTable
from sqlmodel import Field, SQLModel, col

from groundwork.data.ownership import fellows, owned
from groundwork.data.rows import insert_for_member, insert_group
from groundwork.data.statement import Statement
from groundwork.data.tables import group_column, owner_column
from groundwork.testing import rows, statements
from groundwork.testing.contract.statements import _only_inserts
from groundwork.testing.resource import Resource
from groundwork.testing.rows import group_of
from groundwork.testing.statements import Sent


class Base(SQLModel, registry=registry()):
    """Models of these tests, apart from the service's."""


class Sailor(Base, table=True):
    __tablename__ = "sailors"

    person: str = owner_column()
    crew_id: UUID = group_column(foreign_key="crews.id")
    rank: str


class Crew(Base, table=True):
    __tablename__ = "crews"

    id: UUID = owner_column(through=Sailor)
    name: str


class Boat(Base, table=True):
    __tablename__ = "boats"

    crew_id: UUID = owner_column(through=Sailor, foreign_key="crews.id")
    id: UUID = Field(primary_key=True)
    name: str
    builder: str


CREW = Resource("crew", text="name", membership={"rank": "captain"})
BOAT = Resource("boat", text="name", computed={"builder": "Alice"}, within=CREW)


@pytest.fixture(autouse=True)
async def tables(monkeypatch: pytest.MonkeyPatch, connection: asyncpg.Connection) -> AsyncIterator[None]:
    dialect: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in Base.metadata.sorted_tables:
        await connection.execute(str(CreateTable(table).compile(dialect=dialect)))
    for module in (rows, statements):
        monkeypatch.setattr(module, "metadata", Base.metadata)
    statements.owned_tables.cache_clear()
    statements._users_columns.cache_clear()
    yield
    statements.owned_tables.cache_clear()
    statements._users_columns.cache_clear()


def test_paths_name_the_group() -> None:
    assert CREW.of("a/b") == "/api/a%2Fb/crews"
    assert BOAT.group("bob", "alice") == CREW.group("bob", "alice") == f"/api/bob/crews/{group_of('alice')}"
    assert BOAT.of("bob", "alice") == f"{BOAT.group('bob', 'alice')}/boats"
    assert BOAT.stored.owner("alice") == {"crew_id": str(group_of("alice"))}
    assert CREW.stored.owner("alice") == {}


async def test_a_row_comes_with_its_group_and_the_group_with_its_member(connection: asyncpg.Connection) -> None:
    ids = [await BOAT.insert(connection, "bob"), await BOAT.insert(connection, "bob", name="Other", builder="Bob")]
    assert [tuple(row)[2:] for row in await BOAT.rows(connection, "bob")] == [("New", "Alice"), ("Other", "Bob")]
    assert await BOAT.rows(connection) == []
    assert [row["id"] for row in await CREW.rows(connection, "bob")] == [group_of("bob")]
    [member] = await connection.fetch("SELECT * FROM sailors")
    assert tuple(member) == ("bob", group_of("bob"), "captain")
    await BOAT.insert(connection, "alice")
    await BOAT.stored.remove(connection, "bob", only=ids[:1])
    assert [str(row["id"]) for row in await BOAT.rows(connection, "bob")] == ids[1:]
    await BOAT.stored.remove(connection, "bob")
    await CREW.stored.remove(connection, "bob")
    assert await connection.fetchval("SELECT count(*) FROM sailors") == 1
    assert len(await BOAT.rows(connection)) == 1


async def test_many_rows_are_of_ten_users(connection: asyncpg.Connection) -> None:
    await BOAT.insert_many(connection, 30)
    assert [len(await BOAT.rows(connection, f"user {n}")) for n in range(10)] == [3] * 10
    assert [len(await CREW.rows(connection, f"user {n}")) for n in range(10)] == [1 + 3] * 10


@pytest.mark.parametrize(
    ("statement", "inserts"),
    [
        (select(Boat).where(owned(Boat)), False),
        (select(Sailor).where(owned(Sailor)), False),
        (select(Sailor).where(fellows(Sailor), col(Sailor.person) == bindparam("member")), False),
        (update(Sailor).where(fellows(Sailor), col(Sailor.person) == bindparam("member")).values(rank="cook"), False),
        (insert_for_member(Boat), True),
        (insert_for_member(Sailor), True),
        (insert_group(Crew, Sailor, rank="captain"), True),
    ],
)
def test_the_owner_of_a_statement_is_the_user_and_no_fellow(statement: Any, inserts: bool) -> None:
    compiled: Statement[Any] = Statement(statement)
    names = ["owner", *sorted(compiled.names - {"owner"})]
    sent = Sent(compiled.sql, tuple(compiled.arguments(dict(zip(names, names, strict=True)))))
    assert sent.owners() == {"owner"}
    assert _only_inserts(compiled.sql) == inserts

"""The distribution key: all rows of a user are in one partition, and each statement reaches only that partition.

`_one_partition` in options.py checks every statement of the whole suite. The tests here are about the keys, and about
that check.
"""

from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, ForeignKeyConstraint, Index, MetaData, String, Table, UniqueConstraint

from app.models import metadata
from groundwork.testing.statements import Sent, owned_tables
from groundwork.tests.partitions import Partitioned

OWNER = "user_id"


def keys_without_owner(table: Table) -> list[str]:
    """The keys of an owned table that lack the owner, and its references to owned rows that may be another user's."""
    unique = [each for each in table.constraints if isinstance(each, UniqueConstraint)]
    keys: list[Any] = [table.primary_key, *unique, *(index for index in table.indexes if index.unique)]
    wrong = [key.name for key in keys if OWNER not in key.columns]
    return wrong + [f"to {key.referred_table.name}" for key in table.foreign_key_constraints if _leaves_owner(key)]


def _leaves_owner(key: ForeignKeyConstraint) -> bool:
    pairs = [(element.parent.name, element.column.name) for element in key.elements]
    return OWNER in key.referred_table.c and (OWNER, OWNER) not in pairs


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)
def test_every_key_holds_the_owner(table: Table) -> None:
    if table.name in owned_tables():
        assert keys_without_owner(table) == []
    else:
        assert not [key for key in table.foreign_key_constraints if OWNER in key.referred_table.c]


def test_a_key_without_the_owner_is_found() -> None:
    """Citus refuses all such keys: https://docs.citusdata.com/en/stable/develop/api_ddl.html"""
    tables = MetaData(naming_convention=metadata.naming_convention)
    Table("plan", tables, Column("name", String, primary_key=True))
    Table("album", tables, Column(OWNER, String, primary_key=True), Column("id", String, primary_key=True))
    note = Table(
        "note",
        tables,
        Column("id", String, primary_key=True),
        Column(OWNER, String, nullable=False),
        Column("plan", ForeignKey("plan.name")),
        Column("album", String),
        Column("slug", String),
        UniqueConstraint("slug", name="note_slug_key"),
        Index("note_album_idx", "album", unique=True),
        Index("note_slug_idx", "slug"),
        ForeignKeyConstraint(["album", "slug"], ["album.user_id", "album.id"]),
        ForeignKeyConstraint([OWNER, "album"], ["album.user_id", "album.id"]),
    )
    assert keys_without_owner(note) == ["note_pkey", "note_slug_key", "note_album_idx", "to album"]


class TestTheCheckItself:
    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT tasks.title FROM tasks WHERE tasks.id::text = $1",
            "SELECT 1 FROM tasks WHERE tasks.user_id = $1 OR tasks.id::text = $1",
            "UPDATE tasks SET title = $1 WHERE tasks.id::text = $1",
            "DELETE FROM tasks WHERE lower(tasks.user_id) = $1",
            "SELECT 1 FROM tasks JOIN idempotency_keys ON key = title WHERE tasks.user_id = $1",
            "SELECT 1 FROM tasks WHERE user_id = $1 AND EXISTS (SELECT 1 FROM idempotency_keys WHERE key = title)",
            "WITH gone AS (DELETE FROM tasks RETURNING id) SELECT 1 FROM tasks WHERE user_id = $1",
            "INSERT INTO tasks (user_id, id, title) SELECT $1, id, title FROM tasks",
        ],
    )
    def test_refuses_what_looks_in_more_than_one_partition(self, partitioned: Partitioned, sql: str) -> None:
        with pytest.raises(AssertionError, match="partitions"):
            partitioned.require_one_in_each([Sent(sql, ("alice",))])

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT tasks.title FROM tasks WHERE tasks.user_id = $1",
            "SELECT 1 FROM tasks JOIN idempotency_keys USING (user_id) WHERE tasks.user_id = $1",
            "INSERT INTO tasks (user_id, id, title) VALUES ($1, gen_random_uuid(), 'title')",
            "SELECT version_num FROM alembic_version",
        ],
    )
    def test_accepts_what_looks_in_one(self, partitioned: Partitioned, sql: str) -> None:
        partitioned.require_one_in_each([Sent(sql, ("alice",))])

"""Inserts, reads and removes a resource's rows in the tests' database, without the service."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import asyncpg
from sqlalchemy import Table

from groundwork import ids
from groundwork.data.known_tables import OWNER_COLUMN, group_column, owner_of
from groundwork.data.tables import metadata
from groundwork.testing import unique

PARENT = "0198c0de-7a3d-7b10-8c2f-5e1d0a9b8c7d"
"""The id of the row, one for each owner, to which the rows of the tests refer. Examples in documents have it too."""


def group_of(user_id: str) -> UUID:
    """The id of the group in which the tests put the rows of this user."""
    return uuid5(NAMESPACE_OID, user_id)


@dataclass(frozen=True)
class Rows:
    """The rows of a table, which belong to users or to groups, or are groups themselves.

    Args:
        table: the table's name.
        sample: the columns of a row, except its id and its owner.
        membership: if each row is a group, the columns of a membership, except the group and the user.
        groups: the rows of the groups, if each row belongs to one.
        parents: the rows of the tables to which each row refers.
        values: functions that make values of columns that must be unique.
        optional: values for columns that have a default.
    """

    table: str
    sample: Mapping[str, Any]
    membership: Mapping[str, Any]
    groups: "Rows | None"
    parents: Sequence["Rows"] = ()
    values: unique.Values = field(default_factory=dict)
    optional: Mapping[str, Any] = field(default_factory=dict)

    @property
    def described(self) -> Table | None:
        """The table of the model; None if there is no model."""
        return metadata.tables.get(self.table)

    def vary(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with values of its own in the columns that must be unique."""
        return unique.varied(self.described, row, self.values, self.optional, unique.next_number())

    def owner(self, user_id: str) -> dict[str, str]:
        """The column with the owner of a row, and its value. Empty for a group, whose members are in another table."""
        if self.membership:
            return {}
        return {self._owner_column: str(group_of(user_id)) if self.groups else user_id}

    async def insert(self, connection: asyncpg.Connection, user_id: str, row: dict[str, Any], id: UUID | None) -> str:
        """Insert a row for the user, or for the group of the user, with what it needs. Returns the row's id.

        Args:
            row: columns that are not as in the sample.
        """
        await self.prepare(connection, user_id)
        whole = {**self.vary(self.sample), **row, **self.owner(user_id), "id": str(id or ids.uuid7())}
        await _insert(connection, self.table, whole)
        if self.membership:
            group, user = self._members_columns
            await _insert(connection, self._members.name, {group: whole["id"], user: user_id, **self.membership})
        return str(whole["id"])

    async def prepare(self, connection: asyncpg.Connection, user_id: str) -> None:
        """Insert what the user's rows need, unless it is there: their group, and the rows to which they refer."""
        if self.groups:
            await self.insert_group(connection, user_id)
        for parent in self.parents:
            if PARENT not in [str(row["id"]) for row in await parent.of(connection, user_id)]:
                await parent.insert(connection, user_id, {}, UUID(PARENT))

    async def insert_group(self, connection: asyncpg.Connection, user_id: str) -> None:
        """Insert the user's group, with the user as a member, unless it exists. Without groups, do nothing."""
        groups = self if self.membership else self.groups
        if groups is None:
            return
        id = group_of(user_id)
        if not await connection.fetchval(f'SELECT EXISTS (SELECT FROM "{groups.table}" WHERE id = $1)', id):
            await groups.insert(connection, user_id, {}, id)

    async def insert_many(self, connection: asyncpg.Connection, count: int) -> None:
        """Insert `count` rows of ten users, and update the database's statistics."""
        users = [f"user {n}" for n in range(10)]
        if self.groups:
            await self.groups.insert_many(connection, count)
        for user_id in users:
            await self.prepare(connection, user_id)
        rows = [self.vary(self.sample) for _ in range(count)]
        columns, values = ("".join(f', {place}"{name}"' for name in rows[0]) for place in ("", "sample."))
        ids_: list[Any] = [
            await connection.fetchval("SELECT array_agg(gen_random_uuid()) FROM generate_series(1, $1)", count)
        ]
        owner = ""
        if not self.membership:
            owner = f", {self._owner_column}"
            ids_.append([group_of(user_id) for user_id in users] if self.groups else users)
        await connection.execute(
            f'INSERT INTO "{self.table}" (id{owner}{columns}) SELECT ($2::uuid[])[each.n]'
            f"{f', ($3::{self._owner_type}[])[each.n % 10 + 1]' if owner else ''}{values}"
            " FROM unnest($1::jsonb[]) WITH ORDINALITY AS each (line, n),"
            f' jsonb_populate_record(NULL::"{self.table}", each.line) AS sample',
            [json.dumps(row) for row in rows],
            *ids_,
        )
        if self.membership:
            await self._insert_members(connection, ids_[0], users)
        await connection.execute("ANALYZE")

    async def of(self, connection: asyncpg.Connection, user_id: str) -> Any:
        """All rows of the user, or of the user's group, in the order of their ids."""
        return await connection.fetch(
            f'SELECT * FROM "{self.table}" WHERE {self._condition} ORDER BY id', self._key(user_id)
        )

    async def remove(self, connection: asyncpg.Connection, user_id: str, only: Sequence[str] | None = None) -> None:
        """Remove all rows of the user or of the user's group, or only those with the given ids."""
        gone = [row["id"] for row in await self.of(connection, user_id) if only is None or str(row["id"]) in only]
        if self.membership:
            group, _ = self._members_columns
            await connection.execute(f'DELETE FROM "{self._members.name}" WHERE {group} = ANY($1)', gone)
            await connection.execute(f'DELETE FROM "{self.table}" WHERE id = ANY($1)', gone)
        else:
            sql = f'DELETE FROM "{self.table}" WHERE {self._condition} AND id = ANY($2)'
            await connection.execute(sql, self._key(user_id), gone)

    async def _insert_members(self, connection: asyncpg.Connection, groups: list[UUID], users: list[str]) -> None:
        """Make each user a member of an equal share of the groups."""
        group, user = self._members_columns
        columns = "".join(f', "{column}"' for column in self.membership)
        table = self._members.name
        await connection.execute(
            f'INSERT INTO "{table}" ({group}, {user}{columns})'
            f" SELECT ($2::uuid[])[n], ($3::text[])[n % 10 + 1]{columns}"
            f' FROM generate_series(1, {len(groups)}) AS n, jsonb_populate_record(NULL::"{table}", $1) AS sample',
            json.dumps(dict(self.membership)),
            groups,
            users,
        )

    def _key(self, user_id: str) -> UUID | str:
        return group_of(user_id) if self.groups else user_id

    @property
    def _condition(self) -> str:
        if not self.membership:
            return f"{self._owner_column} = $1"
        group, user = self._members_columns
        return f'id IN (SELECT {group} FROM "{self._members.name}" WHERE {user} = $1)'

    @property
    def _owner_column(self) -> str:
        owner = owner_of(self.described) if self.described is not None else None
        return owner.column if owner else OWNER_COLUMN

    @property
    def _owner_type(self) -> str:
        return "uuid" if self.groups else "text"

    @property
    def _members(self) -> Table:
        owner = owner_of(metadata.tables[self.table])
        assert owner is not None and owner.members is not None, f"{self.table} has no owner_column(through=…)"  # noqa: PT018
        return owner.members

    @property
    def _members_columns(self) -> tuple[str, str]:
        """The columns of the group and of the user in the table of members."""
        user = owner_of(self._members)
        assert user is not None
        return str(group_column(self._members)), user.column


async def _insert(connection: asyncpg.Connection, table: str, row: dict[str, Any]) -> None:
    columns = ", ".join(f'"{column}"' for column in row)
    await connection.execute(
        f'INSERT INTO "{table}" ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::"{table}", $1)',
        json.dumps(row),
    )

"""Partitions the owned tables by user, and finds the partitions that a statement reaches.

If a statement reaches the same single partition of each table, one shard can answer it: a shard of Citus, or a separate
database for a part of the users.
"""

import asyncio
import json
import re
from collections.abc import Iterable
from typing import Any

import asyncpg

from groundwork.testing import postgres
from groundwork.testing.statements import Sent, is_for_everybody, owned_tables

DATABASE = "groundwork_partitioned"
COUNT = 8
_SCHEMA = "partitions"


def partition(server: postgres.Server, database: str) -> None:
    """Replace each owned table by a partitioned one. The rows are not kept.

    PostgreSQL refuses this, as Citus would, if a primary key or a unique index does not contain the user.
    """
    server.execute(f"CREATE SCHEMA {_SCHEMA}", database)
    for table in owned_tables():
        server.execute(_partitioned(table), database)


def _partitioned(table: str) -> str:
    return f"""
        DO $$ BEGIN
            ALTER TABLE {table} RENAME TO plain;
            CREATE TABLE {table} (LIKE plain INCLUDING ALL) PARTITION BY HASH (user_id);
            DROP TABLE plain CASCADE;
            FOR number IN 0..{COUNT - 1} LOOP
                EXECUTE format(
                    'CREATE TABLE {_SCHEMA}.{table}_%1$s PARTITION OF {table}'
                    ' FOR VALUES WITH (MODULUS {COUNT}, REMAINDER %1$s)', number);
            END LOOP;
        END $$
    """


class Partitioned:
    """An empty database with partitioned tables. It plans each statement's text once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._known: set[str] = set()

    def require_one_in_each(self, sent: Iterable[Sent]) -> None:
        new = {each.sql: each for each in sent if each.sql not in self._known and _reaches_owned(each.sql)}
        if not new:
            return
        for sql, plan in zip(new, asyncio.run(self._plans(new.values())), strict=True):
            reached = _reached(plan)
            assert len(reached) == 1 or (not reached and _only_inserts(plan)), f"partitions {reached} for: {sql}"
        self._known.update(new)

    async def _plans(self, sent: Iterable[Sent]) -> list[dict[str, Any]]:
        connection = await asyncpg.connect(self._url)
        try:
            # An empty partition is read by a sequential scan, but no partition is left out because it is empty.
            explained = [
                await connection.fetchval(f"EXPLAIN (VERBOSE, FORMAT JSON) {each.sql}", *each.arguments)
                for each in sent
            ]
        finally:
            await connection.close()
        return [json.loads(each)[0]["Plan"] for each in explained]


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for below in plan.get("Plans", []) for node in nodes(below))]


def _reaches_owned(sql: str) -> bool:
    return not is_for_everybody(sql) and any(re.search(rf"\b{table}\b", sql) for table in owned_tables())


def _reached(plan: dict[str, Any]) -> set[str]:
    """The numbers of the partitions. One user's rows are in the partition with the same number in every table."""
    return {node["Relation Name"].rpartition("_")[2] for node in nodes(plan) if node.get("Schema") == _SCHEMA}


def _only_inserts(plan: dict[str, Any]) -> bool:
    """Whether the plan only inserts. Then its row decides about the partition; `require_owner_in_each` checks that."""
    return plan.get("Operation") == "Insert" and len(nodes(plan)) == 2  # the other is the row

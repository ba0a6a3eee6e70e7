"""The statements that reach PostgreSQL: one for each operation, and only for rows of the user in the path."""

import json
import re
from typing import Any

import asyncpg
import httpx
import pytest

from groundwork.testing.http import MISSING_ID, statements_reported
from groundwork.testing.parametrize import EACH, promise
from groundwork.testing.resource import Operation, Resource
from groundwork.testing.statements import Sent, owned_tables, owner_columns

# A value that no statement holds by accident.
USER = "the owner / é '$1"
CURSOR = "AQGZAAAAAHAAgAAAAAAAAAA"
MANY = 1000
ROWS_READ = "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int FROM pg_stat_xact_user_tables"
"""How many rows PostgreSQL has read in the transaction so far."""


async def only(sent: list[Sent]) -> Sent:
    await statements_reported()
    texts = "\n\n".join(statement.sql for statement in sent)
    assert len(sent) == 1, f"{len(sent)} statements were sent; use one, so that there is no race between them:\n{texts}"
    return sent[0]


async def require_index(connection: asyncpg.Connection, sent: Sent) -> None:
    if _only_inserts(sent.sql):
        return
    explained = await connection.fetchval(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {sent.sql}", *sent.arguments)
    nodes = _nodes(json.loads(explained)[0]["Plan"])
    # A CTE scan reads no table: other nodes have read the rows of the CTE.
    scans = [node for node in nodes if "Scan" in node["Node Type"] and node["Node Type"] != "CTE Scan"]
    assert scans
    for node in scans:
        columns = owner_columns(node["Relation Name"])
        condition = node.get("Index Cond", "")
        assert any(re.search(rf"\b{column}\b", condition) for column in columns) or "Scan" in str(node.get("Plans")), (
            f"the statement reads rows of other users, and gets slower with them: {sent.sql}\n{node}\n"
            f"An index that begins with {' or '.join(columns)} is needed, and conditions that fit it."
        )


async def require_few_rows(connection: asyncpg.Connection, sent: Sent) -> None:
    if _only_inserts(sent.sql):
        return
    # The same setting as on the service's connections.
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    transaction = connection.transaction()
    await transaction.start()
    before = await connection.fetchval(ROWS_READ)
    returned = len(await connection.fetch(sent.sql, *sent.arguments))
    read = await connection.fetchval(ROWS_READ) - before
    await transaction.rollback()
    # For a row of a group, the statement also reads a membership.
    tables = sum(re.search(rf"\b{table}\b", sent.sql) is not None for table in owned_tables())
    assert read - returned * tables < MANY / 2, (
        f"the statement reads {read} rows for {returned}, and gets slower with the user's rows: {sent.sql}\n"
        "PostgreSQL has one plan for all users and values. An index is needed that begins with user_id and goes on with"
        " the columns of the conditions or of ORDER BY. For a condition that is not always there, write one statement"
        " with it and one without."
    )


def _only_inserts(sql: str) -> bool:
    """Whether the statement searches no rows: an insert, or a select from the inserts in its WITH."""
    made, read = re.findall(r"(\w+) AS\s*\(INSERT ", sql), re.findall(r"\bFROM\s+(\w+)", sql)
    finds = re.search(r"\b(UPDATE|DELETE)\b", sql) or {*read} - {*made}
    return sql.startswith("INSERT") or (bool(made) and not finds)


def _wrote_nothing_and_reads(sent: list[Sent]) -> bool:
    return [each.sql.partition(" ")[0] for each in sent] in (["UPDATE", "SELECT"], ["DELETE", "SELECT"])


def _nodes(plan: dict[str, Any], relation: str = "") -> list[dict[str, Any]]:
    """The node and all nodes below it. A bitmap index scan gets the relation of the node above it."""
    node = {"Relation Name": relation, **plan}
    return [node, *(each for below in plan.get("Plans", []) for each in _nodes(below, node["Relation Name"]))]


@promise("statements", EACH)
@pytest.mark.parametrize("exists", [True, False])
async def test_an_operation_is_one_statement_for_the_owner(
    client: httpx.AsyncClient,
    connection: asyncpg.Connection,
    sent_statements: list[Sent],
    operation: Operation,
    exists: bool,
) -> None:
    own = operation.resource.of(USER)
    if operation.resource.within:
        await operation.resource.insert_group(connection, USER)
    id_ = await operation.resource.insert(connection, USER) if exists else MISSING_ID
    answer = await operation.send(client, f"{own}/{id_}" if operation.is_on_one else own)
    await statements_reported()
    sent = list(sent_statements)
    may_ask_why = operation.resource.within or operation.resource.membership
    if answer.status_code in (403, 404) and (may_ask_why or _wrote_nothing_and_reads(sent)):
        # A second statement asks whether the user lacks the row or the role, or whether a rule forbids the write.
        assert all(each.owners() == {USER} for each in sent)
        del sent[1:2]
    statement = await only(sent)
    assert statement.owners() == {USER}, f"the statement is not for the path's user: {statement.sql}"
    assert "alice" not in statement.arguments, "the statement holds the user that the body names"


@promise("statements", EACH)
async def test_an_operation_finds_its_rows_by_an_index(
    client: httpx.AsyncClient, connection: asyncpg.Connection, sent_statements: list[Sent], operation: Operation
) -> None:
    """So its cost does not grow with the rows of other users."""
    own = operation.resource.of(USER)
    await operation.resource.insert_many(connection, 2000)
    id_ = await operation.resource.insert(connection, USER)
    await operation.send(client, f"{own}/{id_}" if operation.is_on_one else own)
    await statements_reported()
    for statement in sent_statements:
        await require_index(connection, statement)


@promise("statements", EACH)
async def test_an_operation_reads_few_of_its_users_rows(
    client: httpx.AsyncClient, connection: asyncpg.Connection, sent_statements: list[Sent], operation: Operation
) -> None:
    """So its cost does not grow with the rows of this user either."""
    owner = "user 1"
    await operation.resource.insert_many(connection, 10 * MANY)
    own, id_ = operation.resource.of(owner), await operation.resource.insert(connection, owner)
    await operation.send(client, f"{own}/{id_}" if operation.is_on_one else own)
    await statements_reported()
    for statement in sent_statements:
        await require_few_rows(connection, statement)


@promise("statements", "list")
async def test_a_page_is_one_statement_by_an_index(
    client: httpx.AsyncClient, connection: asyncpg.Connection, sent_statements: list[Sent], resource: Resource
) -> None:
    await resource.insert_many(connection, 2000)
    response = await client.get(resource.of(USER), params={"limit": 5, "cursor": CURSOR})
    assert response.status_code == 200
    statement = await only(sent_statements)
    assert statement.owners() == {USER}
    await require_index(connection, statement)


@promise("statements", "update")
async def test_an_update_of_nothing_and_of_everything_is_one_statement(
    client: httpx.AsyncClient, connection: asyncpg.Connection, sent_statements: list[Sent], resource: Resource
) -> None:
    one = f"{resource.of(USER)}/{await resource.insert(connection, USER)}"
    for body in ({}, {**resource.body(), **resource.optional}):
        assert (await client.put(one, json=body)).status_code == 200
        assert (await only(sent_statements)).owners() == {USER}
        sent_statements.clear()


@promise("statements", "get")
async def test_a_foreign_one_and_a_missing_one_take_the_same_way(
    client: httpx.AsyncClient, connection: asyncpg.Connection, sent_statements: list[Sent], resource: Resource
) -> None:
    """Both run the same statement, so that not even its time tells them apart."""
    foreign = await resource.insert(connection, USER)
    for id_ in (foreign, MISSING_ID):
        assert (await client.get(f"{resource.of('mallory')}/{id_}")).status_code == 404
    await statements_reported()
    assert len({statement.sql for statement in sent_statements}) == 1
    assert all(statement.owners() == {"mallory"} for statement in sent_statements)

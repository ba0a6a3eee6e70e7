"""A list that clients sort shows each row once, in every order and whatever happens between the pages."""

import json
from collections.abc import Iterator
from itertools import permutations
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx

from groundwork.testing.contract.paging import GOOD, ids_from
from groundwork.testing.contract.statements import MANY, USER, only, require_few_rows, require_index
from groundwork.testing.http import assert_rejected, statements_reported
from groundwork.testing.parametrize import promise
from groundwork.testing.resource import Resource
from groundwork.testing.statements import Sent

COPIES = 3
"""How many rows have the same value, unless it must be unique. The id decides between them."""


def copies_of(resource: Resource, member: str) -> int:
    return 1 if [member] in resource.unique_keys else COPIES


def orders(resource: Resource) -> Iterator[tuple[str, str, list[Any]]]:
    """Each order with the member that it sorts by, and the values in this order. None keeps its place in both."""
    for member, values in resource.sorts.items():
        yield member, member, [*values]
        given = iter([value for value in reversed(values) if value is not None])
        yield f"-{member}", member, [None if value is None else next(given) for value in values]


async def insert_sorted(
    connection: asyncpg.Connection, resource: Resource, owner: str, sort: str, member: str, values: list[Any]
) -> list[str]:
    """Insert rows with each value. Returns their ids in the order of the list."""
    found: list[str] = []
    for value in values:
        copies = [
            await resource.insert(connection, owner, **{member: value}) for _ in range(copies_of(resource, member))
        ]
        found += sorted(copies, reverse=sort.startswith("-"))
    return found


def cursor_of(page: httpx.Response) -> str:
    assert page.status_code == 200, page.text
    [cursor] = parse_qs(urlsplit(page.links["next"]["url"]).query)["cursor"]
    return cursor


@promise("paging", "list")
async def test_pages_of_every_order_meet_each_row_once(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    for number, (sort, member, values) in enumerate(orders(resource)):
        owner = f"owner {number}"
        expected = await insert_sorted(connection, resource, owner, sort, member, values)
        await resource.insert(connection, "mallory", **{member: values[0]})
        for limit in dict.fromkeys((1, COPIES - 1, COPIES, len(expected))):
            url = f"{resource.of(owner)}?sort={sort}&limit={limit}"
            assert await ids_from(client, url) == expected, f"sort={sort}&limit={limit}"


@promise("paging", "list")
async def test_what_comes_and_goes_between_pages_disturbs_no_other_in_any_order(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    for number, (sort, member, values) in enumerate(orders(resource)):
        copies = copies_of(resource, member)
        for seen in range(2 if copies > 1 else 1, copies * len(values)):
            owner = f"owner {number} {seen}"
            expected = await insert_sorted(connection, resource, owner, sort, member, values)
            first = await client.get(resource.of(owner), params={"sort": sort, "limit": seen})
            for value in values if copies > 1 else ():
                await resource.insert(connection, owner, **{member: value})
            # A row that was seen, the last row that was seen (the cursor's row), and the next row.
            gone = [expected[0], *expected[seen - 1 : seen + 1]]
            await connection.execute(f'DELETE FROM "{resource.plural}" WHERE id = ANY($1)', gone)
            rest = await ids_from(client, first.links["next"]["url"])
            assert [id for id in rest if id in expected] == expected[seen + 1 :], f"sort={sort}, after {seen}"
            assert len(rest) == len({*rest}), f"sort={sort}, after {seen}"


@promise("paging", "list")
async def test_a_cursor_fits_one_order_only(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    cursors = {}
    for sort, member, values in orders(resource):
        await insert_sorted(connection, resource, sort, sort, member, values)
        for limit in (1, copies_of(resource, member) * len(values) - 1):
            page = await client.get(resource.of(sort), params={"sort": sort, "limit": limit})
            cursors[sort] = cursor_of(page)
            strange = ["", "garbage", "\0", GOOD, cursors[sort][:-1], f"{cursors[sort]}=", f"{cursors[sort]}AAAA"]
            for cursor in strange:
                params = {"sort": sort, "cursor": cursor}
                assert_rejected(await client.get(resource.of(sort), params=params), "query", "cursor")
    for sort, other in permutations(cursors, 2):
        answer = await client.get(resource.of(sort), params={"sort": sort, "cursor": cursors[other]})
        assert_rejected(answer, "query", "cursor")


@promise("paging", "list")
async def test_an_order_that_is_not_declared_is_refused(client: httpx.AsyncClient, resource: Resource) -> None:
    for sort in resource.sorts:
        for wrong in ("", "-", "\0", "\ud800", "no_member", "user_id", f"--{sort}", f"{sort} ", f"{sort},id"):
            params = {"sort": wrong.encode("utf-8", "surrogatepass")}
            assert_rejected(await client.get(resource.of("alice"), params=params), "query", "sort")


@promise("statements", "list")
async def test_a_page_of_every_order_is_one_statement_that_reads_few_rows(
    client: httpx.AsyncClient, connection: asyncpg.Connection, sent_statements: list[Sent], resource: Resource
) -> None:
    owner = "user 1"
    if resource.sorts:
        await resource.insert_many(connection, 10 * MANY)
    ids = [row["id"] for row in await resource.rows(connection, owner)]
    for sort, member, values in orders(resource):
        await connection.execute(
            f'UPDATE "{resource.plural}" AS old SET "{member}" = new."{member}"'
            " FROM unnest($1::jsonb[]) WITH ORDINALITY AS sample,"
            f' jsonb_populate_record(NULL::"{resource.plural}", sample) AS new'
            " WHERE old.id = ANY($2) AND ordinality = 1 + abs(hashtext(old.id::text)) % $3",
            [json.dumps({member: value}) for value in values],
            # If the member must be unique, its values differ already.
            ids if copies_of(resource, member) > 1 else [],
            len(values),
        )
        await connection.execute(f'ANALYZE "{resource.plural}"')
        # The first page, a page after a row at the beginning, and a page after a row near the end. If there are rows
        # without a value, the last two pages start in different parts of the list.
        for seen in (None, 1, MANY - 50):
            params: dict[str, Any] = {"sort": sort, "limit": 5}
            if seen:
                page = await client.get(resource.of(owner), params={**params, "limit": seen})
                params["cursor"] = cursor_of(page)
            await statements_reported()
            sent_statements.clear()
            assert (await client.get(resource.of(owner), params=params)).status_code == 200
            statement = await only(sent_statements)
            assert statement.owners() == {owner}
            await require_index(connection, statement)
            await require_few_rows(connection, statement)


@promise("statements", "list")
async def test_a_page_of_every_order_is_for_its_owner(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    for sort, member, values in orders(resource):
        await insert_sorted(connection, resource, sort, sort, member, values)
        cursor = cursor_of(await client.get(resource.of(sort), params={"sort": sort, "limit": 1}))
        for params in ({"sort": sort}, {"sort": sort, "cursor": cursor}):
            assert (await client.get(resource.of(USER), params=params)).json() == []

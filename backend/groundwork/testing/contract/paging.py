"""A list comes in pages, from the newest to the oldest, each row once, whatever happens between the pages."""

from uuid import UUID

import asyncpg
import httpx
import pytest

from groundwork.http.paging import MAX_LIMIT, encode_cursor
from groundwork.testing.http import assert_rejected
from groundwork.testing.parametrize import promise
from groundwork.testing.resource import Resource

GOOD = encode_cursor(UUID(int=2**127))


async def ids_from(client: httpx.AsyncClient, url: str | None) -> list[str]:
    """The ids on this page and on all pages after it."""
    found: list[str] = []
    while url:
        page = await client.get(url)
        assert page.status_code == 200, page.text
        found += [one["id"] for one in page.json()]
        url = page.links.get("next", {}).get("url")
        assert len(found) < MAX_LIMIT, "the pages do not end: each must begin after the last row of the one before"
    return found


@promise("paging", "list")
async def test_a_list_is_newest_first(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    assert (await client.get(resource.of("alice"))).json() == []
    created = [await resource.insert(connection) for _ in range(3)]
    assert await ids_from(client, resource.of("alice")) == created[::-1]


@promise("paging", "list")
@pytest.mark.parametrize("limit", [1, 2, 5, 6])
async def test_pages_lead_from_the_newest_to_the_oldest(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource, limit: int
) -> None:
    created = [await resource.insert(connection, "a/b é") for _ in range(5)]
    first = await client.get(f"{resource.of('a/b é')}?limit={limit}")
    assert len(first.json()) == min(limit, 5), "a page must hold as many rows as limit says"
    assert ("link" in first.headers) == (limit < 5), "a page must have a Link header exactly if there is a next page"
    assert await ids_from(client, f"{resource.of('a/b é')}?limit={limit}") == created[::-1]


@promise("paging", "list")
async def test_what_comes_and_goes_between_pages_disturbs_no_other(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    newest = [await resource.insert(connection) for _ in range(9)][::-1]
    first = await client.get(resource.of("alice"), params={"limit": 3})
    await resource.insert(connection)
    # A row that was seen, the last row that was seen (the cursor's row), and a row of a later page.
    gone = [newest[0], newest[2], newest[4]]
    await resource.stored.remove(connection, "alice", gone)
    assert await ids_from(client, first.links["next"]["url"]) == [newest[3], *newest[5:]]


@promise("paging", "list")
async def test_the_filter_is_kept_from_page_to_page(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    if resource.filter is None:
        return
    value = resource.optional[resource.filter]
    wanted = []
    for _ in range(3):
        wanted.append(await resource.insert(connection, "alice", **{resource.filter: value}))
        await resource.insert(connection)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    page = await client.get(resource.of("alice"), params={resource.filter: text, "limit": 1})
    assert [page.json()[0]["id"], *await ids_from(client, page.links["next"]["url"])] == wanted[::-1]


@promise("paging", "list")
async def test_a_limit_out_of_range_is_refused(client: httpx.AsyncClient, resource: Resource) -> None:
    for limit in ("0", "-1", str(MAX_LIMIT + 1), "", "two"):
        assert_rejected(await client.get(resource.of("alice"), params={"limit": limit}), "query", "limit")


@promise("paging", "list")
async def test_a_cursor_that_was_never_given_out_is_refused(client: httpx.AsyncClient, resource: Resource) -> None:
    assert (await client.get(resource.of("alice"), params={"cursor": GOOD})).status_code == 200
    for cursor in ("", "garbage", GOOD[:-1], f"{GOOD}=", str(UUID(int=1)), "\0"):
        assert_rejected(await client.get(resource.of("alice"), params={"cursor": cursor}), "query", "cursor")

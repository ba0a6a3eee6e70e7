"""The pages of a list: limits, links and cursors."""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import asyncpg
import httpx
import pytest

from groundwork import ids
from groundwork.tests.http import ALICE, assert_rejected, create


async def insert_tasks(connection: asyncpg.Connection, number: int, user_id: str = "alice") -> list[str]:
    """Insert tasks without the service. Returns their ids, the newest first."""
    now = datetime.now(UTC)
    rows = [(user_id, ids.uuid7(), f"Task {place}", place % 2 == 0, now, now) for place in range(number)]
    columns = ["user_id", "id", "title", "completed", "created_at", "updated_at"]
    await connection.copy_records_to_table("tasks", records=rows, columns=columns)
    return [str(row[1]) for row in reversed(rows)]


def next_link(response: httpx.Response) -> str | None:
    """The target of the page's `Link` to the next page."""
    assert response.status_code == 200, response.text
    link = response.links.get("next")
    return link["url"] if link else None


def ids_of(response: httpx.Response) -> list[str]:
    return [task["id"] for task in response.json()]


async def follow(client: httpx.AsyncClient, url: str | None) -> list[list[str]]:
    """The ids on each page from this one to the last."""
    pages = []
    while url:
        response = await client.get(url)
        pages.append(ids_of(response))
        url = next_link(response)
    return pages


def flat(pages: list[list[str]]) -> list[str]:
    return [id for page in pages for id in page]


def cursor_of(url: str | None) -> str:
    assert url is not None
    [cursor] = parse_qs(urlsplit(url).query)["cursor"]
    return cursor


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode("ascii").rstrip("=")


async def test_a_page_holds_1000_tasks_unless_asked_otherwise(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    newest_first = await insert_tasks(connection, 1001)
    assert await follow(client, ALICE) == [newest_first[:1000], newest_first[1000:]]


async def test_exactly_1000_tasks_are_one_page(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    newest_first = await insert_tasks(connection, 1000)
    assert await follow(client, ALICE) == [newest_first]


@pytest.mark.parametrize(("limit", "sizes"), [(1, [1] * 6), (4, [4, 2]), (5, [5, 1]), (6, [6]), (7, [6]), (1000, [6])])
async def test_links_lead_through_every_task_once(
    client: httpx.AsyncClient, connection: asyncpg.Connection, limit: int, sizes: list[int]
) -> None:
    newest_first = await insert_tasks(connection, 6)
    pages = await follow(client, f"{ALICE}?limit={limit}")
    assert [len(page) for page in pages] == sizes
    assert flat(pages) == newest_first


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**30, "", "two", "1.5", "1e2"])
async def test_a_limit_out_of_range_is_refused(client: httpx.AsyncClient, limit: Any) -> None:
    assert_rejected(await client.get(ALICE, params={"limit": limit}), "query", "limit")


async def test_the_link_keeps_the_path_and_the_query_as_they_came(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    user_id = 'a/b?c#d é>"'
    newest_first = await insert_tasks(connection, 3, user_id)
    path = "/api/a%2Fb%3Fc%23d%20%C3%A9%3E%22/tasks"
    response = await client.get(f"{path}?limit=1")
    url = next_link(response)
    assert url == f"{path}?limit=1&cursor={cursor_of(url)}"
    assert flat(await follow(client, f"{path}?limit=1")) == newest_first


async def test_the_filter_is_kept_from_page_to_page(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    newest_first = await insert_tasks(connection, 10)
    assert await follow(client, f"{ALICE}?completed=true&limit=2") == [
        newest_first[1:4:2],
        newest_first[5:8:2],
        newest_first[9:],
    ]


async def test_tasks_added_and_deleted_between_pages_disturb_no_other(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    newest_first = await insert_tasks(connection, 9)
    first = await client.get(ALICE, params={"limit": 3})
    added = await create(client)
    # A row that was seen, the last row seen (the cursor's own), and a row that is still to come.
    for gone in (newest_first[0], newest_first[2], newest_first[4]):
        await client.delete(f"{ALICE}/{gone}")
    rest = flat(await follow(client, next_link(first)))
    assert rest == [newest_first[3], *newest_first[5:]]
    assert added["id"] not in rest


async def test_a_cursor_reveals_nothing_of_another_user(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    older = await insert_tasks(connection, 1)
    await insert_tasks(connection, 3, "bob")
    await insert_tasks(connection, 1)
    cursor = cursor_of(next_link(await client.get("/api/bob/tasks?limit=1")))
    assert ids_of(await client.get(ALICE, params={"cursor": cursor})) == older


async def test_a_cursor_past_the_last_task_gives_an_empty_page(client: httpx.AsyncClient) -> None:
    await create(client)
    response = await client.get(ALICE, params={"cursor": encoded(b"\x01" + bytes(16))})
    assert (response.json(), next_link(response)) == ([], None)


GOOD = encoded(b"\x01" + UUID(int=2**127).bytes)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "garbage",
        GOOD[:-1],
        GOOD[1:],
        GOOD + "=",
        GOOD + "A",
        GOOD + "\n",
        " " + GOOD,
        "!" + GOOD,
        GOOD[:-1] + "B",  # the same bytes in a spelling that the service never makes
        encoded(b"\x00" + bytes(16)),
        encoded(b"\x02" + bytes(16)),
        encoded(b"\x01" + bytes(15)),
        encoded(b"\x01" + bytes(17)),
        encoded(b"\x01"),
        str(UUID(int=1)),
        "é" * 23,
        "\0",
        "A" * 60_000,
    ],
    ids=lambda cursor: ascii(cursor[:30]),
)
async def test_a_cursor_that_was_never_given_out_is_refused(client: httpx.AsyncClient, cursor: str) -> None:
    assert (await client.get(ALICE, params={"cursor": GOOD})).status_code == 200
    assert assert_rejected(await client.get(ALICE, params={"cursor": cursor}), "query", "cursor") == "cursor"

"""Each representation has an ETag, and a request can name the versions that it is for (RFC 9110, section 13)."""

import asyncio
from collections import Counter

import asyncpg
import httpx

from groundwork.testing.http import assert_problem, assert_rejected
from groundwork.testing.parametrize import ON_ONE, promise
from groundwork.testing.resource import Operation, Resource

OLD = '"1-1"'


async def one_of(resource: Resource, client: httpx.AsyncClient, connection: asyncpg.Connection) -> tuple[str, str]:
    """The path of a new resource, and its tag."""
    path = f"{resource.of('alice')}/{await resource.insert(connection)}"
    return path, (await client.get(path)).headers.get("etag", "there is no ETag")


@promise("conditional requests", ON_ONE)
async def test_an_operation_takes_effect_in_the_wanted_version_only(
    client: httpx.AsyncClient, connection: asyncpg.Connection, operation: Operation
) -> None:
    resource = operation.resource
    path, tag = await one_of(resource, client, connection)
    before = await resource.rows(connection)
    client.headers["If-Match"] = OLD
    assert_problem(await operation.send(client, path), 412)
    assert await resource.rows(connection) == before, "the operation has changed a version that If-Match excludes"
    client.headers["If-Match"] = tag
    assert (await operation.send(client, path)).is_success


@promise("conditional requests", ON_ONE)
async def test_a_condition_that_nobody_can_read_is_refused(
    client: httpx.AsyncClient, connection: asyncpg.Connection, operation: Operation
) -> None:
    path, _ = await one_of(operation.resource, client, connection)
    for header in ("If-Match", "If-None-Match"):
        client.headers = httpx.Headers({header: "1-a"})
        assert_rejected(await operation.send(client, path), "header", header)


@promise("conditional requests", "get")
async def test_what_a_client_has_is_not_sent_again(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    path, tag = await one_of(resource, client, connection)
    kept = await client.get(path, headers={"If-None-Match": tag})
    assert (kept.status_code, kept.content, kept.headers["etag"]) == (304, b"", tag)
    assert (await client.get(path)).headers["cache-control"] == "private, no-cache"


@promise("conditional requests", "get", "update")
async def test_a_change_gives_a_new_tag(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    path, tag = await one_of(resource, client, connection)
    changed = await client.put(path, json=resource.change(), headers={"If-Match": tag})
    assert changed.headers["etag"] != tag
    assert (await client.get(path, headers={"If-None-Match": tag})).status_code == 200
    assert (await client.get(path)).headers["etag"] == changed.headers["etag"]
    nothing = await client.put(path, json={})
    assert nothing.headers["etag"] == changed.headers["etag"], "an update of nothing must not make a new version"


@promise("conditional requests", "get", "update")
async def test_of_writers_at_once_exactly_one_wins(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    path, tag = await one_of(resource, client, connection)
    condition = {"If-Match": tag}
    answers = await asyncio.gather(*(client.put(path, json=resource.change(), headers=condition) for _ in range(4)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 3}

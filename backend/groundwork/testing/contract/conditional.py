"""Each representation has an ETag, and a request can say for which versions it holds (RFC 9110, section 13)."""

import asyncio
from collections import Counter

import asyncpg
import httpx

from groundwork.http.conditional import entity_tag
from groundwork.testing.http import assert_problem, assert_rejected, etag_of
from groundwork.testing.parametrize import ON_ONE, promise
from groundwork.testing.resource import Operation, Resource

OLD = '"1-1"'


async def one_of(resource: Resource, client: httpx.AsyncClient, connection: asyncpg.Connection) -> tuple[str, str]:
    """The path of a new row, and its tag.

    If get sends no tag, the tag is made from the row, because the other operations can still be right.
    """
    path = f"{resource.of('alice')}/{await resource.insert(connection)}"
    [row] = await resource.rows(connection)
    return path, (await client.get(path)).headers.get("etag") or entity_tag(row["updated_at"]).decode()


def is_one(response: httpx.Response, resource: Resource) -> bool:
    """Whether the answer is a representation of the resource."""
    is_json = response.headers.get("content-type") == "application/json"
    content = response.json() if is_json else None
    return isinstance(content, dict) and {"id", "updated_at", *resource.members} <= content.keys()


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
    answer = await operation.send(client, path)
    assert answer.is_success, f"the operation refuses the version that If-Match wants: {answer.text}"
    if is_one(answer, resource):
        etag_of(answer, operation.name)


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
    name = f"get_{resource.name}"
    whole = await client.get(path)
    assert etag_of(whole, name) == tag
    assert whole.headers.get("cache-control") == "private, no-cache"
    kept = await client.get(path, headers={"If-None-Match": tag})
    assert (kept.status_code, kept.content) == (304, b""), f"{name} sends again what If-None-Match says is there"
    assert etag_of(kept, name) == tag


@promise("conditional requests", "create", "get")
async def test_create_and_get_answer_the_same_tag(client: httpx.AsyncClient, resource: Resource) -> None:
    made = await client.post(resource.of("alice"), json=resource.body())
    assert made.status_code == 201, made.text
    tag = etag_of(made, f"create_{resource.name}")
    read = await client.get(f"{resource.of('alice')}/{made.json()['id']}")
    assert etag_of(read, f"get_{resource.name}") == tag


@promise("conditional requests", "get", "update")
async def test_a_change_gives_a_new_tag(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    get, update = f"get_{resource.name}", f"update_{resource.name}"
    path, tag = await one_of(resource, client, connection)
    changed = etag_of(await client.put(path, json=resource.change(), headers={"If-Match": tag}), update)
    assert changed != tag, f"{update} answers the tag of the version before"
    read = await client.get(path, headers={"If-None-Match": tag})
    assert (read.status_code, etag_of(read, get)) == (200, changed)
    nothing = etag_of(await client.put(path, json={}), update)
    assert nothing == changed, "an update of nothing must not make a new version"


@promise("conditional requests", "get", "update")
async def test_of_writers_at_once_exactly_one_wins(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    path, tag = await one_of(resource, client, connection)
    condition = {"If-Match": tag}
    answers = await asyncio.gather(*(client.put(path, json=resource.change(), headers=condition) for _ in range(4)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 3}

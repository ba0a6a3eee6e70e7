"""What every resource promises. What is one resource's own, such as a toggle, stands in a module beside this."""

from typing import Any

import asyncpg
import httpx
import pytest

from groundwork import ids
from groundwork.tests.http import MISSING_ID, assert_problem, assert_rejected
from groundwork.tests.resources import RESOURCES, Resource, each_resource

OLD = '"1-1"'
BLANK = ["", " ", "\u3000\n"]
each_operation_on_one = pytest.mark.parametrize(
    ("resource", "operation"), [(resource, name) for resource in RESOURCES for name in resource.on_one()], ids=str
)
each_member = pytest.mark.parametrize(
    ("resource", "member"), [(resource, name) for resource in RESOURCES for name in resource.optional], ids=str
)


def path_of(resource: Resource, created: Any) -> str:
    return f"{resource.of('alice')}/{created['id']}"


@each_resource
async def test_what_is_created_is_answered_and_read_again(client: httpx.AsyncClient, resource: Resource) -> None:
    body = {resource.text: "  New\n", **resource.optional}
    made = await client.post(resource.of("alice"), json={**body, "id": MISSING_ID, "user_id": "bob", "unknown": 1})
    assert made.status_code == 201
    assert made.json().items() >= {**body, resource.text: "New", "user_id": "alice"}.items()
    assert made.json()["created_at"] == made.json()["updated_at"]
    assert made.headers["location"] == path_of(resource, made.json())
    read = await client.get(made.headers["location"])
    assert (read.json(), read.headers["etag"]) == (made.json(), made.headers["etag"])


@each_resource
@pytest.mark.parametrize("text", [None, *BLANK, 7, "\0", "x" * 10_000], ids=ascii)
async def test_a_required_text_is_never_missing(client: httpx.AsyncClient, resource: Resource, text: Any) -> None:
    one = await resource.create(client)
    assert_rejected(await client.post(resource.of("alice"), json={}), "body", resource.text)
    assert_rejected(await client.post(resource.of("alice"), json={resource.text: text}), "body", resource.text)
    assert_rejected(await client.put(path_of(resource, one), json={resource.text: text}), "body", resource.text)
    assert (await client.get(resource.of("alice"))).json() == [one]


@each_resource
@pytest.mark.parametrize(
    "values", [{"user_id": ""}, {"user_id": "u" * 256}, *({"": text} for text in BLANK), {"": " x"}]
)
async def test_the_database_refuses_what_the_api_refuses(
    connection: asyncpg.Connection, resource: Resource, values: dict[str, str]
) -> None:
    insert = f"INSERT INTO {resource.plural} (user_id, id, {resource.text}) VALUES ($1, $2, $3)"
    await connection.execute(insert, "alice", ids.uuid7(), "x")
    with pytest.raises((asyncpg.CheckViolationError, asyncpg.StringDataRightTruncationError)):
        await connection.execute(insert, values.get("user_id", "alice"), ids.uuid7(), values.get("", "x"))


@each_member
async def test_a_change_leaves_the_other_members_as_they_are(
    client: httpx.AsyncClient, resource: Resource, member: str
) -> None:
    before = await resource.create(client)
    changed = await client.put(path_of(resource, before), json={member: resource.optional[member]})
    after = changed.json()
    assert changed.status_code == 200
    assert after == {**before, member: resource.optional[member], "updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]
    assert after == (await client.get(path_of(resource, before))).json()


@each_resource
async def test_a_whole_one_may_be_sent_back_and_nothing_changes_nothing(
    client: httpx.AsyncClient, resource: Resource
) -> None:
    before = await resource.create(client, **resource.optional)
    assert (await client.put(path_of(resource, before), json={})).json() == before
    after = (await client.put(path_of(resource, before), json={**before, "user_id": "bob"})).json()
    assert after == {**before, "updated_at": after["updated_at"]}


@each_resource
async def test_pages_lead_from_the_newest_to_the_oldest(client: httpx.AsyncClient, resource: Resource) -> None:
    created = [await resource.create(client) for _ in range(5)]
    found: list[Any] = []
    url: str | None = f"{resource.of('alice')}?limit=2"
    while url:
        page = await client.get(url)
        found += page.json()
        url = page.links.get("next", {}).get("url")
    assert found == created[::-1]


@each_resource
async def test_a_list_can_be_chosen_by_its_filter(client: httpx.AsyncClient, resource: Resource) -> None:
    without = await resource.create(client)
    having = await resource.create(client, "alice", **{resource.filter: True})
    for wanted, expected in (("true", [having]), ("false", [without])):
        assert (await client.get(resource.of("alice"), params={resource.filter: wanted})).json() == expected
    assert_rejected(await client.get(resource.of("alice"), params={resource.filter: "x"}), "query", resource.filter)


@each_operation_on_one
async def test_an_operation_takes_effect_in_the_wanted_version_only(
    client: httpx.AsyncClient, resource: Resource, operation: str
) -> None:
    one = await resource.create(client)
    path, send = path_of(resource, one), resource.on_one()[operation]
    tag = (await client.get(path)).headers["etag"]
    client.headers["If-Match"] = OLD
    assert_problem(await send(client, path), 412)
    del client.headers["If-Match"]
    assert (await client.get(path)).json() == one
    client.headers["If-Match"] = tag
    assert (await send(client, path)).status_code == 200


@each_operation_on_one
async def test_what_is_missing_or_deleted_is_not_found(
    client: httpx.AsyncClient, resource: Resource, operation: str
) -> None:
    path = path_of(resource, await resource.create(client))
    assert (await client.delete(path)).json() == {"message": f"{resource.schema} deleted successfully"}
    send = resource.on_one()[operation]
    for gone in (path, f"{resource.of('alice')}/{MISSING_ID}"):
        assert assert_problem(await send(client, gone), 404)["detail"] == f"{resource.schema} not found."
    assert_rejected(await send(client, f"{resource.of('alice')}/7"), "path", f"{resource.name}_id")


@each_resource
async def test_what_a_client_has_is_not_sent_again(client: httpx.AsyncClient, resource: Resource) -> None:
    path = path_of(resource, await resource.create(client))
    tag = (await client.get(path)).headers["etag"]
    kept = await client.get(path, headers={"If-None-Match": tag})
    assert (kept.status_code, kept.content, kept.headers["etag"]) == (304, b"", tag)


@each_resource
async def test_a_retry_with_its_key_creates_no_second(client: httpx.AsyncClient, resource: Resource) -> None:
    key = {"Idempotency-Key": '"a retry"'}
    first = await client.post(resource.of("alice"), json={resource.text: "New"}, headers=key)
    again = await client.post(resource.of("alice"), json={resource.text: "New"}, headers=key)
    assert (again.status_code, again.content, again.headers["location"]) == (
        201,
        first.content,
        first.headers["location"],
    )
    assert (await client.get(resource.of("alice"))).json() == [first.json()]
    assert_problem(await client.post(resource.of("alice"), json={resource.text: "Other"}, headers=key), 409)

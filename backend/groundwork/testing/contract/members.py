"""What was written can be read again, and a change leaves the other members as they are."""

from typing import Any

import asyncpg
import httpx

from groundwork.testing.http import MISSING_ID, assert_rejected
from groundwork.testing.parametrize import promise
from groundwork.testing.resource import Resource


def query_text(value: Any) -> str:
    """The value as it stands in a query."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@promise("members", "create", "get")
async def test_what_is_created_is_answered_and_read_again(client: httpx.AsyncClient, resource: Resource) -> None:
    body = resource.body(**resource.optional)
    sent = {**body, resource.text: f"  {body[resource.text]}\n"} if resource.text else body
    not_read = {"id": MISSING_ID, "user_id": "bob", **resource.stored.owner("bob"), "unknown": 1}
    made = await client.post(resource.of("alice"), json={**sent, **not_read})
    assert made.status_code == 201, made.text
    shown = {name: value for name, value in made.json().items() if name in not_read or name in body}
    assert shown == {**body, **resource.stored.owner("alice"), "id": made.json()["id"]}
    assert made.json()["id"] != MISSING_ID, "the service took the id from the body; it must make the id"
    assert made.json()["created_at"] == made.json()["updated_at"]
    path = f"{resource.of('alice')}/{made.json()['id']}"
    assert made.headers.get("location") == path, f"let create_{resource.name} return created(request, response, …)"
    assert (await client.get(path)).json() == made.json()


@promise("members", "create")
async def test_a_second_of_the_same_body_comes_later(client: httpx.AsyncClient, resource: Resource) -> None:
    first, second = await resource.create(client), await resource.create(client)
    assert first["id"] < second["id"], "ids sort by creation: make them by ids.new_row()"


@promise("members", "update", "get")
async def test_a_change_leaves_the_other_members_as_they_are(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    path = f"{resource.of('alice')}/{await resource.insert(connection)}"
    for member, value in {**resource.change(), **resource.optional}.items():
        before = (await client.get(path)).json()
        changed = await client.put(path, json={member: value})
        after = changed.json()
        assert changed.status_code == 200, changed.text
        assert after == {**before, member: value, "updated_at": after["updated_at"]}
        assert after["updated_at"] > before["updated_at"], "updated_at must be later after every change"
        assert after == (await client.get(path)).json()


@promise("members", "update", "get")
async def test_a_whole_one_may_be_sent_back_and_nothing_changes_nothing(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    path = f"{resource.of('alice')}/{await resource.insert(connection, **resource.optional)}"
    before = (await client.get(path)).json()
    assert (await client.put(path, json={})).json() == before
    after = (await client.put(path, json={**before, "user_id": "bob", **resource.stored.owner("bob")})).json()
    assert after == {**before, "updated_at": after["updated_at"]}


@promise("members", "delete")
async def test_what_is_deleted_is_gone(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    gone, kept = await resource.insert(connection), await resource.insert(connection)
    path = f"{resource.of('alice')}/{gone}"
    assert (await client.delete(path)).is_success
    assert [str(row["id"]) for row in await resource.rows(connection)] == [kept]
    assert (await client.delete(path)).status_code == 404


@promise("members", "list")
async def test_a_list_can_be_chosen_by_its_filter(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    if resource.filter is None:
        return
    wanted = resource.optional[resource.filter]
    without = await resource.insert(connection)
    having = await resource.insert(connection, "alice", **{resource.filter: wanted})
    answer = await client.get(resource.of("alice"), params={resource.filter: query_text(wanted)})
    assert [one["id"] for one in answer.json()] == [having]
    if isinstance(wanted, bool):
        answer = await client.get(resource.of("alice"), params={resource.filter: query_text(not wanted)})
        assert [one["id"] for one in answer.json()] == [without]
        answer = await client.get(resource.of("alice"), params={resource.filter: "x"})
        assert_rejected(answer, "query", resource.filter)

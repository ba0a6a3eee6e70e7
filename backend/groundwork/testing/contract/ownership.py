"""No user can read, change, delete, count or detect anything of another user.

A stranger sends each operation twice with the id of a row of Alice: before the row exists, and after. Both answers must
be the same, byte for byte, and Alice's rows must stay as they were.
"""

import re
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from groundwork.testing.http import MISSING_ID
from groundwork.testing.parametrize import ALICES_ID, EACH, ON_ONE, promise
from groundwork.testing.resource import Operation, Resource

SECRET = "the secret of alice"
CONDITIONS: tuple[dict[str, str], ...] = (
    {},
    # The answer to a condition must not tell whether the row exists.
    {"If-Match": "*"},
    {"If-Match": '"1-a"'},
    {"If-None-Match": "*"},
    {"If-None-Match": '"1-a"'},
)
# For each owner, user ids that could be mistaken for it, or could match it as a pattern.
ALMOST = {
    "alice": [
        "mallory", "Alice", "ALICE", "alice ", " alice", "alice\t", "alice\u200b", "alice/", "alice%00", "%61lice", "%",
        "al_ce", "' OR ''='", "\uff41lice", "\u0430lice",
    ],
    "jos\u00e9": ["jose\u0301", "jose"],
    "\u00c5": ["\u212b"],
    "stra\u00dfe": ["strasse"],
    "a/b": ["a%2Fb"],
    "1": ["01"],
}  # fmt: skip


def visible(response: httpx.Response) -> str:
    """Everything that the answer shows. Ids and times are masked, because they differ each time."""
    shown = f"{response.status_code}\n{response.headers.multi_items()}\n{response.text}"
    shown = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>", shown)
    shown = re.sub(r'"1-[0-9a-f]+"', "<tag>", shown)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<moment>", shown)


def secret(resource: Resource) -> dict[str, Any]:
    """A text that is told apart from all others. If it must be unique, it differs each time."""
    if not resource.text:
        return {}
    return {resource.text: resource.stored.vary({**resource.body(), resource.text: SECRET})[resource.text]}


def place(operation: Operation, user_id: str, member: str = "alice", id: UUID | str = ALICES_ID) -> str:
    """The path to send the operation to: that of the user's list, or below it the id of Alice's row.

    Args:
        member: whose group is in the path, if groups own the rows.
    """
    own = operation.resource.of(user_id, member)
    return f"{own}/{id}" if operation.is_on_one else own


@promise("ownership", EACH)
async def test_what_is_another_users_looks_like_what_never_existed(
    client: httpx.AsyncClient, connection: asyncpg.Connection, operation: Operation
) -> None:
    async def send() -> list[httpx.Response]:
        """The stranger's request, in Alice's group and in a group of his own, without and with conditions."""
        answers = []
        for path in dict.fromkeys(place(operation, "mallory", member) for member in ("alice", "mallory")):
            for condition in CONDITIONS:
                client.headers = httpx.Headers({"X-Request-ID": "the-same", **condition})
                answers.append(await operation.send(client, path))
                await resource.stored.remove(connection, "mallory")
        return answers

    resource = operation.resource
    if resource.within:
        await resource.within.stored.remove(connection, "alice")
    without = await send()
    await resource.insert(connection, "alice", id=ALICES_ID, **secret(resource))
    before = await resource.rows(connection)
    with_one = await send()
    for one, other in zip(with_one, without, strict=True):
        assert visible(one) == visible(other), "the answer shows a stranger whether Alice's row exists"
        assert SECRET not in one.text, "a stranger can read Alice's row"
    assert await resource.rows(connection) == before, "a stranger can change Alice's row"


@promise("ownership", ON_ONE)
async def test_the_case_reaches_what_is_its_own_users(
    client: httpx.AsyncClient, connection: asyncpg.Connection, operation: Operation
) -> None:
    """Otherwise the test above would pass for a case that reaches nothing at all."""
    await operation.resource.insert(connection, "alice", id=ALICES_ID)
    response = await operation.send(client, place(operation, "alice"))
    assert response.is_success, f"the case in the table does not reach Alice's own row: {response.text}"


@promise("ownership", EACH)
async def test_user_ids_are_told_apart_by_every_character(
    client: httpx.AsyncClient, connection: asyncpg.Connection, operation: Operation
) -> None:
    resource = operation.resource
    for owner, strangers in ALMOST.items():
        id_ = await resource.insert(connection, owner, **secret(resource))
        before = await resource.rows(connection, owner)
        for stranger in strangers:
            response = await operation.send(client, place(operation, stranger, owner, id_))
            assert not operation.is_on_one or response.status_code == 404, f"{stranger!a} is taken for {owner!a}"
            assert SECRET not in response.text, f"{stranger!a} is taken for {owner!a}"
            assert await resource.rows(connection, owner) == before, f"{stranger!a} is taken for {owner!a}"


@promise("ownership", "list")
async def test_a_user_id_is_the_same_in_every_encoding(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    id_ = await resource.insert(connection)
    for spelling in ("alice", "%61lice", "%61%6C%69%63%65", "%61%6c%69%63%65"):
        [one] = (await client.get(resource.of("alice").replace("/api/alice/", f"/api/{spelling}/"))).json()
        assert one.items() >= {**resource.stored.owner("alice"), "id": id_}.items()


@promise("ownership", "list")
async def test_pages_show_nothing_of_another(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    """A list, its links and its cursors show neither the number nor the times of another user's rows."""
    oldest = await resource.insert(connection, "mallory")
    await resource.insert(connection, "alice", **secret(resource))
    newest = await resource.insert(connection, "mallory")
    page = await client.get(resource.of("mallory"), params={"limit": 1})
    rest = await client.get(page.links["next"]["url"])
    assert [one["id"] for one in (*page.json(), *rest.json())] == [newest, oldest]
    assert "link" not in rest.headers


@promise("ownership", "list")
async def test_a_cursor_of_another_user_is_only_a_place_in_time(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    """A cursor gives the same answer whether its row is another user's or does not exist."""
    client.headers["X-Request-ID"] = "the-same"
    alice, mallory = resource.of("alice"), resource.of("mallory")
    own = await resource.insert(connection, "mallory")
    for _ in range(2):
        await resource.insert(connection, "alice", **secret(resource))
    stolen = (await client.get(alice, params={"limit": 1})).links["next"]["url"].replace(alice, mallory)
    while_there = await client.get(stolen)
    assert [one["id"] for one in while_there.json()] == [own]
    await resource.stored.remove(connection, "alice")
    assert visible(await client.get(stolen)) == visible(while_there)


@promise("ownership", "delete")
async def test_two_users_may_have_the_same_id(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    """Ids are unique per user, so nobody learns from a conflict that another user has an id."""
    if resource.membership:
        return  # A group owns other rows, so its id is unique. Nobody can choose it.
    for user_id in ("alice", "mallory"):
        await resource.insert(connection, user_id, id=ALICES_ID)
    assert (await client.delete(f"{resource.of('mallory')}/{ALICES_ID}")).is_success
    assert len(await resource.rows(connection, "alice")) == 1
    assert await resource.rows(connection, "mallory") == []


@promise("ownership", ON_ONE)
async def test_what_is_missing_is_not_found(client: httpx.AsyncClient, operation: Operation) -> None:
    response = await operation.send(client, f"{operation.resource.of('alice')}/{MISSING_ID}")
    assert response.status_code == 404

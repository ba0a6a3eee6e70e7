"""No request of one user reads, changes, deletes, counts or detects anything of another's.

Each operation of each resource has a case here. It is sent twice, as a stranger, with the id of what is Alice's: before
that exists, and after. The two answers must be the same, byte for byte, and what is Alice's must stay as it was.
"""

import re
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from groundwork.tests.resources import RESOURCES, Case, Resource, each_resource

ALICES_ID = UUID("01990000-0000-7000-8000-000000000001")
SECRET = "the secret of alice"


def _cases(resource: Resource) -> dict[str, tuple[Resource, Case]]:
    """By operationId: what a stranger sends to get at what is Alice's, given the path of the stranger's own."""

    def on_alices(send: Case) -> Case:
        return lambda client, own: send(client, f"{own}/{ALICES_ID}")

    claim = {resource.text: "Mine now", "user_id": "alice", "id": str(ALICES_ID)}
    cases: dict[str, Case] = {
        f"list_{resource.plural}": lambda client, own: client.get(own),
        f"create_{resource.name}": lambda client, own: client.post(own, json=claim),
        **{name: on_alices(send) for name, send in resource.on_one(**claim).items()},
    }
    return {name: (resource, case) for name, case in cases.items()}


CASES = {name: case for resource in RESOURCES for name, case in _cases(resource).items()}
# The same for certain versions only: a condition must not tell whether it is there.
CONDITIONS = ({"If-Match": "*"}, {"If-Match": '"1-a"'}, {"If-None-Match": "*"}, {"If-None-Match": '"1-a"'})

# Who might be taken for Alice, or for a pattern that matches her.
ALMOST = [
    ("alice", "mallory"),
    ("alice", "Alice"),
    ("alice", "ALICE"),
    ("alice", "alice "),
    ("alice", " alice"),
    ("alice", "alice\t"),
    ("alice", "alice\u200b"),
    ("alice", "alice/"),
    ("alice", "alice%00"),
    ("alice", "%61lice"),
    ("alice", "%"),
    ("alice", "al_ce"),
    ("alice", "' OR ''='"),
    ("alice", "\uff41lice"),
    ("alice", "\u0430lice"),
    ("jos\u00e9", "jose\u0301"),
    ("jos\u00e9", "jose"),
    ("\u00c5", "\u212b"),
    ("stra\u00dfe", "strasse"),
    ("a/b", "a%2Fb"),
    ("1", "01"),
]


def visible(response: httpx.Response) -> str:
    """Everything that the answer shows, but for the ids and moments that the server makes anew each time."""
    shown = f"{response.status_code}\n{response.headers.multi_items()}\n{response.text}"
    shown = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>", shown)
    shown = re.sub(r'"1-[0-9a-f]+"', "<tag>", shown)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<moment>", shown)


async def insert(connection: asyncpg.Connection, resource: Resource, user_id: str) -> None:
    """One of the user's, past the service."""
    await connection.execute(
        f"INSERT INTO {resource.plural} (user_id, id, {resource.text}) VALUES ($1, $2, $3)", user_id, ALICES_ID, SECRET
    )


async def rows_of(connection: asyncpg.Connection, resource: Resource, user_id: str) -> Any:
    return await connection.fetch(f"SELECT * FROM {resource.plural} WHERE user_id = $1 ORDER BY id", user_id)


@pytest.fixture
async def client(client: httpx.AsyncClient) -> httpx.AsyncClient:
    client.headers["X-Request-ID"] = "the-same"
    return client


def test_every_operation_on_a_users_data_has_a_case(app: FastAPI) -> None:
    owned = {
        operation["operationId"]
        for path, operations in app.openapi()["paths"].items()
        if "{user_id}" in path
        for operation in operations.values()
    }
    missing, needless = owned - set(CASES), set(CASES) - owned
    assert owned == set(CASES), f"add to tests/resources.py what sends: {missing}; remove: {needless}"


@pytest.mark.parametrize("operation", CASES)
async def test_what_is_another_users_looks_like_what_never_existed(
    client: httpx.AsyncClient, connection: asyncpg.Connection, operation: str
) -> None:
    resource, case = CASES[operation]
    without = await case(client, resource.of("mallory"))
    await insert(connection, resource, "alice")
    before = await rows_of(connection, resource, "alice")
    with_one = await case(client, resource.of("mallory"))
    assert visible(with_one) == visible(without)
    assert SECRET not in with_one.text
    assert await rows_of(connection, resource, "alice") == before


@pytest.mark.parametrize("condition", CONDITIONS, ids=str)
@pytest.mark.parametrize("operation", CASES)
async def test_a_condition_tells_nothing_of_what_is_another_users(
    client: httpx.AsyncClient, connection: asyncpg.Connection, operation: str, condition: dict[str, str]
) -> None:
    client.headers.update(condition)
    await test_what_is_another_users_looks_like_what_never_existed(client, connection, operation)


@pytest.mark.parametrize("operation", [name for resource in RESOURCES for name in resource.on_one()])
async def test_the_case_reaches_what_is_its_own_users(
    client: httpx.AsyncClient, connection: asyncpg.Connection, operation: str
) -> None:
    """Else the test above would hold for a case that reaches nothing at all."""
    resource, case = CASES[operation]
    await insert(connection, resource, "alice")
    assert (await case(client, resource.of("alice"))).status_code == 200


@each_resource
@pytest.mark.parametrize(("owner", "stranger"), ALMOST, ids=ascii)
async def test_user_ids_are_told_apart_by_every_character(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource, owner: str, stranger: str
) -> None:
    await insert(connection, resource, owner)
    before = await rows_of(connection, resource, owner)
    assert (await client.get(resource.of(stranger))).json() == []
    for name, (_, case) in _cases(resource).items():
        response = await case(client, resource.of(stranger))
        verb = name.partition("_")[0]
        assert response.status_code == {"list": 200, "create": 201}.get(verb, 404)
        assert SECRET not in response.text
    assert await rows_of(connection, resource, owner) == before
    [own] = (await client.get(resource.of(stranger))).json()
    assert (own["user_id"], own[resource.text]) == (stranger, "Mine now")


@each_resource
@pytest.mark.parametrize("spelling", ["alice", "%61lice", "%61%6C%69%63%65", "%61%6c%69%63%65"])
async def test_a_user_id_is_the_same_in_every_encoding(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource, spelling: str
) -> None:
    await insert(connection, resource, "alice")
    [one] = (await client.get(f"/api/{spelling}/{resource.plural}")).json()
    assert (one["user_id"], one[resource.text]) == ("alice", SECRET)


@each_resource
async def test_pages_and_counts_show_nothing_of_another(client: httpx.AsyncClient, resource: Resource) -> None:
    """Neither the number of what is another's nor its place in time shows in a list, its links or its cursors."""
    mallory = resource.of("mallory")
    await resource.create(client, "mallory")
    await resource.create(client, "alice", **{resource.text: SECRET})
    newest = await resource.create(client, "mallory")
    page = await client.get(mallory, params={"limit": 1})
    assert page.json() == [newest]
    rest = await client.get(page.links["next"]["url"])
    assert [one["user_id"] for one in rest.json()] == ["mallory"]
    assert "link" not in rest.headers
    for wanted in ("true", "false"):
        response = await client.get(mallory, params={resource.filter: wanted})
        assert SECRET not in response.text


@each_resource
async def test_a_cursor_of_another_user_is_only_a_place_in_time(client: httpx.AsyncClient, resource: Resource) -> None:
    """The same cursor gives the same answer whether what it names is another's or nobody's."""
    alice, mallory = resource.of("alice"), resource.of("mallory")
    own = await resource.create(client, "mallory")
    for _ in range(2):
        await resource.create(client, "alice", **{resource.text: SECRET})
    link = (await client.get(alice, params={"limit": 1})).links["next"]["url"]
    stolen = link.replace(alice, mallory)
    while_there = await client.get(stolen)
    assert while_there.json() == [own]
    for one in (await client.get(alice)).json():
        await client.delete(f"{alice}/{one['id']}")
    assert visible(await client.get(stolen)) == visible(while_there)


@each_resource
async def test_two_users_may_have_the_same_id(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    """Ids are unique for each user: nobody learns from a conflict that an id is taken."""
    await insert(connection, resource, "alice")
    await insert(connection, resource, "mallory")
    assert (await client.delete(f"{resource.of('mallory')}/{ALICES_ID}")).status_code == 200
    assert len(await rows_of(connection, resource, "alice")) == 1
    assert await rows_of(connection, resource, "mallory") == []

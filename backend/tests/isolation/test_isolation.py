"""No request of one user reads, changes, deletes, counts or detects anything of another's.

Each operation has a case here. It is sent twice, as a stranger, with the id of a task of Alice's: before that task
exists, and after. The two answers must be the same, byte for byte, and the task must stay as it was.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.http import create

ALICES_TASK = UUID("01990000-0000-7000-8000-000000000001")
SECRET = "the secret of alice"

Case = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]

# By operationId: what a stranger sends to get at Alice's task, given the path of the stranger's own tasks.
CASES: dict[str, Case] = {
    "list_tasks": lambda client, tasks: client.get(tasks),
    "create_task": lambda client, tasks: client.post(
        tasks, json={"title": "Mine now", "user_id": "alice", "id": str(ALICES_TASK)}
    ),
    "get_task": lambda client, tasks: client.get(f"{tasks}/{ALICES_TASK}"),
    "update_task": lambda client, tasks: client.put(
        f"{tasks}/{ALICES_TASK}", json={"title": "Mine now", "user_id": "alice"}
    ),
    "delete_task": lambda client, tasks: client.delete(f"{tasks}/{ALICES_TASK}"),
    "toggle_task": lambda client, tasks: client.patch(f"{tasks}/{ALICES_TASK}/complete"),
}
# The same for certain versions only: a condition must not tell whether the task is there.
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


def tasks_of(user_id: str) -> str:
    return f"/api/{quote(user_id, safe='')}/tasks"


def visible(response: httpx.Response) -> str:
    """Everything that the answer shows, but for the ids and moments that the server makes anew each time."""
    shown = f"{response.status_code}\n{response.headers.multi_items()}\n{response.text}"
    shown = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>", shown)
    shown = re.sub(r'"1-[0-9a-f]+"', "<tag>", shown)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<moment>", shown)


async def insert_task(connection: asyncpg.Connection, user_id: str) -> None:
    await connection.execute(
        "INSERT INTO tasks (user_id, id, title, description) VALUES ($1, $2, $3, $3)", user_id, ALICES_TASK, SECRET
    )


async def rows_of(connection: asyncpg.Connection, user_id: str) -> Any:
    return await connection.fetch("SELECT * FROM tasks WHERE user_id = $1 ORDER BY id", user_id)


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
    assert owned == set(CASES), f"add to CASES: {owned - set(CASES)}; remove: {set(CASES) - owned}"


@pytest.mark.parametrize("operation", CASES)
async def test_another_users_task_looks_like_one_that_never_existed(
    client: httpx.AsyncClient, connection: asyncpg.Connection, operation: str
) -> None:
    without = await CASES[operation](client, tasks_of("mallory"))
    await insert_task(connection, "alice")
    before = await rows_of(connection, "alice")
    with_task = await CASES[operation](client, tasks_of("mallory"))
    assert visible(with_task) == visible(without)
    assert SECRET not in with_task.text
    assert await rows_of(connection, "alice") == before


@pytest.mark.parametrize("condition", CONDITIONS, ids=str)
@pytest.mark.parametrize("operation", CASES)
async def test_a_condition_tells_nothing_of_another_users_task(
    client: httpx.AsyncClient, connection: asyncpg.Connection, operation: str, condition: dict[str, str]
) -> None:
    client.headers.update(condition)
    await test_another_users_task_looks_like_one_that_never_existed(client, connection, operation)


@pytest.mark.parametrize("operation", set(CASES) - {"list_tasks", "create_task"})
async def test_the_case_reaches_the_task_of_its_own_user(
    client: httpx.AsyncClient, connection: asyncpg.Connection, operation: str
) -> None:
    """Else the test above would hold for a case that reaches nothing at all."""
    await insert_task(connection, "alice")
    assert (await CASES[operation](client, tasks_of("alice"))).status_code == 200


@pytest.mark.parametrize(("owner", "stranger"), ALMOST, ids=ascii)
async def test_user_ids_are_told_apart_by_every_character(
    client: httpx.AsyncClient, connection: asyncpg.Connection, owner: str, stranger: str
) -> None:
    await insert_task(connection, owner)
    before = await rows_of(connection, owner)
    assert (await client.get(tasks_of(stranger))).json() == []
    for operation, case in CASES.items():
        response = await case(client, tasks_of(stranger))
        assert response.status_code == {"list_tasks": 200, "create_task": 201}.get(operation, 404)
        assert SECRET not in response.text
    assert await rows_of(connection, owner) == before
    [own] = (await client.get(tasks_of(stranger))).json()
    assert (own["user_id"], own["title"]) == (stranger, "Mine now")


@pytest.mark.parametrize("spelling", ["alice", "%61lice", "%61%6C%69%63%65", "%61%6c%69%63%65"])
async def test_a_user_id_is_the_same_in_every_encoding(
    client: httpx.AsyncClient, connection: asyncpg.Connection, spelling: str
) -> None:
    await insert_task(connection, "alice")
    [task] = (await client.get(f"/api/{spelling}/tasks")).json()
    assert (task["user_id"], task["title"]) == ("alice", SECRET)


async def test_pages_and_counts_show_nothing_of_another(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    """Neither the number of another's tasks nor their place in time shows in a list, its links or its cursors."""
    mallory = tasks_of("mallory")
    await create(client, mallory)
    await create(client, tasks_of("alice"), title=SECRET)
    newest = await create(client, mallory)
    page = await client.get(mallory, params={"limit": 1})
    assert page.json() == [newest]
    rest = await client.get(page.links["next"]["url"])
    assert [task["user_id"] for task in rest.json()] == ["mallory"]
    assert "link" not in rest.headers
    for completed in ("true", "false"):
        response = await client.get(mallory, params={"completed": completed})
        assert SECRET not in response.text


async def test_a_cursor_of_another_user_is_only_a_place_in_time(client: httpx.AsyncClient) -> None:
    """The same cursor gives the same answer whether the task that it names is another's or nobody's."""
    alice, mallory = tasks_of("alice"), tasks_of("mallory")
    own = await create(client, mallory)
    for _ in range(2):
        await create(client, alice, title=SECRET)
    link = (await client.get(alice, params={"limit": 1})).links["next"]["url"]
    stolen = link.replace(alice, mallory)
    with_task = await client.get(stolen)
    assert with_task.json() == [own]
    for task in (await client.get(alice)).json():
        await client.delete(f"{alice}/{task['id']}")
    assert visible(await client.get(stolen)) == visible(with_task)


async def test_two_users_may_have_tasks_of_the_same_id(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    """Ids are unique for each user: nobody learns from a conflict that an id is taken."""
    await insert_task(connection, "alice")
    await insert_task(connection, "mallory")
    assert (await client.delete(f"{tasks_of('mallory')}/{ALICES_TASK}")).status_code == 200
    assert len(await rows_of(connection, "alice")) == 1
    assert await rows_of(connection, "mallory") == []

"""The six operations, tested row by row from the specification's tables."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from groundwork.tests.http import ALICE, MISSING_ID, assert_problem, assert_rejected, create
from groundwork.text import WHITE_SPACE

MEMBERS = ["id", "user_id", "title", "description", "completed", "created_at", "updated_at"]
CHANGING = [("PUT", ""), ("PATCH", "/complete")]
ON_ONE_TASK = [("GET", ""), ("DELETE", ""), *CHANGING]


async def change(client: httpx.AsyncClient, task: Any, body: Any) -> httpx.Response:
    return await client.put(f"{ALICE}/{task['id']}", json=body)


async def read(client: httpx.AsyncClient, task: Any) -> Any:
    response = await client.get(f"{ALICE}/{task['id']}")
    assert response.status_code == 200
    return response.json()


def body_for(method: str) -> dict[str, Any]:
    return {"json": {"title": "New"}} if method == "PUT" else {}


class TestList:
    async def test_is_empty_for_a_user_without_tasks(self, client: httpx.AsyncClient) -> None:
        response = await client.get(ALICE)
        assert (response.status_code, response.json()) == (200, [])
        assert response.headers["content-type"] == "application/json"

    async def test_is_newest_first(self, client: httpx.AsyncClient) -> None:
        created = [await create(client, title=str(number)) for number in range(5)]
        assert (await client.get(ALICE)).json() == created[::-1]

    async def test_stays_in_order_of_creation_after_changes(self, client: httpx.AsyncClient) -> None:
        first, second = await create(client), await create(client)
        await change(client, first, {"title": "Changed last"})
        assert [task["id"] for task in (await client.get(ALICE)).json()] == [second["id"], first["id"]]

    @pytest.mark.parametrize(("wanted", "titles"), [("true", ["done"]), ("false", ["open"])])
    async def test_can_be_limited_to_completed_or_open_tasks(
        self, client: httpx.AsyncClient, wanted: str, titles: list[str]
    ) -> None:
        await create(client, title="open")
        await create(client, title="done", completed=True)
        tasks = (await client.get(ALICE, params={"completed": wanted})).json()
        assert [task["title"] for task in tasks] == titles


class TestCreate:
    async def test_answers_the_new_task(self, client: httpx.AsyncClient) -> None:
        body = {"title": "Buy milk", "description": "Two litres", "completed": True}
        response = await client.post(ALICE, json=body)
        task = response.json()
        assert response.status_code == 201
        assert list(task) == MEMBERS
        assert task.items() >= {**body, "user_id": "alice"}.items()
        assert UUID(task["id"]).version == 7

    async def test_stores_the_task(self, client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
        task = await create(client, description="Two litres")
        [row] = await connection.fetch("SELECT * FROM tasks")
        assert (row["user_id"], str(row["id"]), row["title"], row["description"], row["completed"]) == (
            "alice",
            task["id"],
            "Buy milk",
            "Two litres",
            False,
        )

    async def test_needs_only_a_title(self, client: httpx.AsyncClient) -> None:
        task = (await client.post(ALICE, json={"title": "Buy milk"})).json()
        assert (task["description"], task["completed"]) == (None, False)

    async def test_names_the_place_of_the_new_task(self, client: httpx.AsyncClient) -> None:
        response = await client.post(ALICE, json={"title": "Buy milk"})
        location = response.headers["location"]
        assert location == f"{ALICE}/{response.json()['id']}"
        assert (await client.get(location)).json() == response.json()

    async def test_says_when_in_utc(self, client: httpx.AsyncClient) -> None:
        task = await create(client)
        assert task["created_at"] == task["updated_at"]
        assert task["created_at"].endswith("Z")
        created_at = datetime.fromisoformat(task["created_at"])
        assert abs(datetime.now(UTC) - created_at) < timedelta(minutes=1)

    async def test_decides_id_owner_and_times_itself(self, client: httpx.AsyncClient) -> None:
        asked: dict[str, Any] = {"id": MISSING_ID, "user_id": "bob", "created_at": "1999-01-01T00:00:00Z"}
        task = await create(client, **asked, priority=5)
        assert list(task) == MEMBERS
        assert task["user_id"] == "alice"
        assert task["id"] != MISSING_ID
        assert task["created_at"] > "2026"

    async def test_makes_a_second_task_of_the_same_body(self, client: httpx.AsyncClient) -> None:
        first, second = await create(client), await create(client)
        assert first["id"] < second["id"]


class TestGet:
    async def test_answers_the_task(self, client: httpx.AsyncClient) -> None:
        task = await create(client, description="Two litres", completed=True)
        assert await read(client, task) == task


class TestUpdate:
    @pytest.mark.parametrize(
        "changes",
        [
            {"title": "New"},
            {"description": "New"},
            {"description": None},
            {"completed": True},
            {"completed": False},
            {"title": "New", "description": "New"},
            {"title": "New", "description": None, "completed": True},
        ],
        ids=str,
    )
    async def test_changes_only_the_fields_present(self, client: httpx.AsyncClient, changes: dict[str, Any]) -> None:
        before = await create(client, description="Two litres")
        response = await change(client, before, changes)
        after = response.json()
        assert response.status_code == 200
        assert list(after) == MEMBERS
        assert after == {**before, **changes, "updated_at": after["updated_at"]}
        assert after == await read(client, before)

    async def test_of_nothing_changes_nothing(self, client: httpx.AsyncClient) -> None:
        task = await create(client)
        for body in ({}, {"priority": 5}):
            response = await change(client, task, body)
            assert (response.status_code, response.json()) == (200, task)

    @pytest.mark.parametrize("field", ["title", "completed"])
    async def test_refuses_null_where_a_value_is_needed(self, client: httpx.AsyncClient, field: str) -> None:
        task = await create(client)
        assert_rejected(await change(client, task, {"description": "New", field: None}), "body", field)
        assert await read(client, task) == task

    async def test_takes_back_a_whole_task_that_was_read(self, client: httpx.AsyncClient) -> None:
        task = await create(client, description="Two litres", completed=True)
        response = await change(client, task, task)
        after = response.json()
        assert response.status_code == 200
        assert after == {**task, "updated_at": after["updated_at"]}

    async def test_ignores_what_only_the_server_decides(self, client: httpx.AsyncClient) -> None:
        task = await create(client)
        asked = {"id": MISSING_ID, "user_id": "bob", "created_at": "1999-01-01T00:00:00Z"}
        after = (await change(client, task, {"title": "New", **asked})).json()
        assert {name: after[name] for name in asked} == {name: task[name] for name in asked}


class TestDelete:
    async def test_is_permanent(self, client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
        task, other = await create(client), await create(client)
        response = await client.delete(f"{ALICE}/{task['id']}")
        assert (response.status_code, response.json()) == (200, {"message": "Task deleted successfully"})
        assert [str(row["id"]) for row in await connection.fetch("SELECT id FROM tasks")] == [other["id"]]

    @pytest.mark.parametrize(("method", "suffix"), ON_ONE_TASK)
    async def test_leaves_nothing_for_any_operation(self, client: httpx.AsyncClient, method: str, suffix: str) -> None:
        path = f"{ALICE}/{(await create(client))['id']}"
        await client.delete(path)
        assert_problem(await client.request(method, path + suffix, **body_for(method)), 404)


class TestToggle:
    async def test_flips_completed_each_time(self, client: httpx.AsyncClient) -> None:
        before = await create(client)
        path = f"{ALICE}/{before['id']}/complete"
        for completed in (True, False, True):
            response = await client.patch(path)
            after = response.json()
            assert response.status_code == 200
            assert list(after) == MEMBERS
            assert after == {**before, "completed": completed, "updated_at": after["updated_at"]}
        assert await read(client, before) == after

    @pytest.mark.parametrize("times", [20, 21])
    async def test_loses_none_of_many_at_once(self, client: httpx.AsyncClient, times: int) -> None:
        task = await create(client)
        flips = await asyncio.gather(*(client.patch(f"{ALICE}/{task['id']}/complete") for _ in range(times)))
        answered = [flip.json()["completed"] for flip in flips]
        assert [flip.status_code for flip in flips] == [200] * times
        assert answered.count(True) == (times + 1) // 2
        assert (await read(client, task))["completed"] == (times % 2 == 1)
        assert len({flip.json()["updated_at"] for flip in flips}) == times


@pytest.mark.parametrize(("method", "suffix"), CHANGING)
async def test_every_change_moves_updated_at_forward(client: httpx.AsyncClient, method: str, suffix: str) -> None:
    task = await create(client)
    moments = [task["updated_at"]]
    for _ in range(3):
        response = await client.request(method, f"{ALICE}/{task['id']}{suffix}", **body_for(method))
        assert response.json()["created_at"] == task["created_at"]
        assert response.json()["updated_at"].endswith("Z")
        moments.append(response.json()["updated_at"])
    assert moments == sorted(set(moments), key=datetime.fromisoformat)


@pytest.mark.parametrize(("method", "suffix"), CHANGING)
async def test_updated_at_moves_forward_even_when_the_clock_is_behind(
    client: httpx.AsyncClient, connection: asyncpg.Connection, method: str, suffix: str
) -> None:
    task = await create(client)
    tomorrow = await connection.fetchval("UPDATE tasks SET updated_at = now() + interval '1 day' RETURNING updated_at")
    response = await client.request(method, f"{ALICE}/{task['id']}{suffix}", **body_for(method))
    assert datetime.fromisoformat(response.json()["updated_at"]) > tomorrow


@pytest.mark.parametrize(("method", "suffix"), ON_ONE_TASK)
async def test_a_task_that_never_existed_is_not_found(client: httpx.AsyncClient, method: str, suffix: str) -> None:
    problem = assert_problem(await client.request(method, f"{ALICE}/{MISSING_ID}{suffix}", **body_for(method)), 404)
    assert problem["detail"] == "Task not found."


@pytest.mark.parametrize("white_space", [" ", "\t\n\r ", "\u00a0", "\u2003", "\u3000", WHITE_SPACE], ids=ascii)
async def test_white_space_around_a_title_is_removed(client: httpx.AsyncClient, white_space: str) -> None:
    task = await create(client, title=f"{white_space}Buy  milk{white_space}")
    assert task["title"] == "Buy  milk"
    assert (await change(client, task, {"title": f"{white_space}New"})).json()["title"] == "New"
    for response in (
        await client.post(ALICE, json={"title": white_space}),
        await change(client, task, {"title": white_space}),
    ):
        assert assert_rejected(response, "body", "title") == "string_too_short"


async def test_white_space_in_a_description_is_kept(client: httpx.AsyncClient) -> None:
    assert (await create(client, description=" \n two \n "))["description"] == " \n two \n "
    assert (await create(client, description=""))["description"] == ""


@pytest.mark.parametrize("character", ["a", "é", "\U0001f95b"], ids=ascii)
@pytest.mark.parametrize(("field", "longest"), [("title", 200), ("description", 1000)])
async def test_length_is_counted_in_characters(
    client: httpx.AsyncClient, field: str, longest: int, character: str
) -> None:
    task = await create(client, **{field: character * longest})
    assert task[field] == character * longest
    too_long = {"title": "Buy milk", field: character * (longest + 1)}
    for response in (await client.post(ALICE, json=too_long), await change(client, task, too_long)):
        assert assert_rejected(response, "body", field) == "string_too_long"


async def test_a_title_is_measured_without_the_white_space_around_it(client: httpx.AsyncClient) -> None:
    assert (await create(client, title=" " * 300 + "a" * 200 + " " * 300))["title"] == "a" * 200


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE tasks; --",
        'quote " back\\slash',
        "%s $1 :name",
        "\U0001f468\u200d\U0001f469\u200d\U0001f466",
        "e\u0301",
        "\x01\x7f\u202e",
    ],
    ids=ascii,
)
async def test_text_comes_back_as_it_was_sent(client: httpx.AsyncClient, text: str) -> None:
    task = await create(client, title=text, description=text)
    assert (task["title"], task["description"]) == (text, text)
    assert await read(client, task) == task

"""What is a task's own. What all resources have in common, test_contract.py tests."""

import asyncio
from typing import Any

import httpx
import pytest

from groundwork.testing.http import assert_rejected
from tests.resources import TASK


@pytest.fixture
async def task(client: httpx.AsyncClient) -> Any:
    return await TASK.create(client)


def path_of(task: Any) -> str:
    return f"{TASK.of('alice')}/{task['id']}"


async def test_a_new_task_is_open_and_has_no_description(task: Any) -> None:
    assert (task["completed"], task["description"]) == (False, None)


async def test_a_toggle_flips_completed_each_time(client: httpx.AsyncClient, task: Any) -> None:
    for completed in (True, False, True):
        after = (await client.patch(f"{path_of(task)}/complete")).json()
        assert after == {**task, "completed": completed, "updated_at": after["updated_at"]}
        assert after == (await client.get(path_of(task))).json()


async def test_no_toggle_of_many_at_once_is_lost(client: httpx.AsyncClient, task: Any) -> None:
    answers = await asyncio.gather(*(client.patch(f"{path_of(task)}/complete") for _ in range(21)))
    assert [answer.json()["completed"] for answer in answers].count(True) == 11
    assert (await client.get(path_of(task))).json()["completed"] is True


async def test_a_retry_of_a_toggle_is_safe_with_the_version_that_was_read(client: httpx.AsyncClient, task: Any) -> None:
    condition = {"If-Match": (await client.get(path_of(task))).headers["etag"]}
    statuses = [(await client.patch(f"{path_of(task)}/complete", headers=condition)).status_code for _ in range(2)]
    assert statuses == [200, 412]


async def test_a_description_is_taken_away_by_null(client: httpx.AsyncClient) -> None:
    task = await TASK.create(client, description="Two litres")
    assert (await client.put(path_of(task), json={"description": None})).json()["description"] is None
    assert_rejected(await client.put(path_of(task), json={"completed": None}), "body", "completed")


@pytest.mark.parametrize(("member", "longest"), [("title", 200), ("description", 1000)])
async def test_lengths_are_counted_in_characters(
    client: httpx.AsyncClient, task: Any, member: str, longest: int
) -> None:
    text = "\U0001f95b" * longest
    assert (await TASK.create(client, **{member: text}))[member] == text
    body = {"title": "Buy milk", member: f"{text}a"}
    for answer in (await client.post(TASK.of("alice"), json=body), await client.put(path_of(task), json=body)):
        assert assert_rejected(answer, "body", member) == "string_too_long"


async def test_white_space_in_a_description_is_kept(client: httpx.AsyncClient) -> None:
    assert (await TASK.create(client, description=" \n two \n "))["description"] == " \n two \n "

"""Concurrency control: every task has an entity tag, and a request can be for certain versions only (RFC 9110, 13)."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg
import httpx
import pytest

from groundwork.testing.statements import Sent
from groundwork.tests.http import ALICE, MISSING_ID, assert_problem, assert_rejected, create, statements_reported

OLD = '"1-1"'
WRITES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "put": ("PUT", "", {"json": {"title": "New"}}),
    "put of nothing": ("PUT", "", {"json": {}}),
    "toggle": ("PATCH", "/complete", {}),
    "delete": ("DELETE", "", {}),
}
writes = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
changes = pytest.mark.parametrize("write", [WRITES["put"], WRITES["toggle"]], ids=["put", "toggle"])
takes_effect_once = pytest.mark.parametrize(
    "write", [WRITES["put"], WRITES["toggle"], WRITES["delete"]], ids=["put", "toggle", "delete"]
)
Write = tuple[str, str, dict[str, Any]]


@pytest.fixture
async def task(client: httpx.AsyncClient) -> str:
    """The path of a new task."""
    return f"{ALICE}/{(await create(client))['id']}"


async def tag(client: httpx.AsyncClient, task: str) -> str:
    return str((await client.get(task)).headers["etag"])


async def send(client: httpx.AsyncClient, task: str, write: Write, *headers: tuple[str, str]) -> httpx.Response:
    method, suffix, options = write
    return await client.request(method, task + suffix, headers=list(headers), **options)


class TestTheTag:
    async def test_stands_on_every_answer_that_is_one_task(self, client: httpx.AsyncClient) -> None:
        created = await client.post(ALICE, json={"title": "Buy milk"})
        task = created.headers["location"]
        put = await client.put(task, json={"title": "New"})
        nothing = await client.put(task, json={})
        toggled = await client.patch(f"{task}/complete")
        read = await client.get(task)
        tags = [answer.headers["etag"] for answer in (created, put, nothing, toggled, read)]
        assert tags[1] == tags[2]
        assert tags[3] == tags[4]
        assert len(set(tags)) == 3
        for answer in (created, put, nothing, toggled, read):
            assert answer.headers["cache-control"] == "private, no-cache"

    async def test_stays_while_the_task_does(self, client: httpx.AsyncClient, task: str) -> None:
        before = await tag(client, task)
        await client.put(task, json={})
        await client.put(task, json={"title": ""})
        await client.patch(f"{task}/complete", headers={"If-Match": OLD})
        assert await tag(client, task) == before

    @changes
    async def test_changes_even_when_nothing_but_time_does(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, task: str, write: Write
    ) -> None:
        """Even if the database's clock goes back, no tag may be that of an earlier version."""
        await connection.execute("UPDATE tasks SET updated_at = now() + interval '1 day'")
        tags = [await tag(client, task)]
        tags += [(await send(client, task, write)).headers["etag"] for _ in range(4)]
        assert len(set(tags)) == 5

    @pytest.mark.parametrize("path", [ALICE, f"{ALICE}/{MISSING_ID}", "/health/live"])
    async def test_stands_on_nothing_else(self, client: httpx.AsyncClient, task: str, path: str) -> None:
        answer = await client.get(path)
        assert "etag" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"


class TestIfNoneMatch:
    @pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', '{}, "other"', "*"])
    async def test_of_what_the_client_has_is_304(self, client: httpx.AsyncClient, task: str, form: str) -> None:
        current = await tag(client, task)
        answer = await client.get(task, headers={"If-None-Match": form.format(current)})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == current
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["x-request-id"]
        assert "content-length" not in answer.headers
        assert "content-type" not in answer.headers

    @pytest.mark.parametrize("form", [OLD, '"other"', f'{OLD}, W/"other"', ""])
    async def test_of_anything_else_is_the_task(self, client: httpx.AsyncClient, task: str, form: str) -> None:
        answer = await client.get(task, headers={"If-None-Match": form})
        assert answer.status_code == 200
        assert answer.json()["title"] == "Buy milk"

    async def test_after_a_change_is_the_task(self, client: httpx.AsyncClient, task: str) -> None:
        before = await tag(client, task)
        await client.put(task, json={"title": "New"})
        assert (await client.get(task, headers={"If-None-Match": before})).json()["title"] == "New"

    @writes
    @pytest.mark.parametrize(("form", "status"), [("*", 412), ("{}", 412), (OLD, 200)])
    async def test_of_a_write_lets_it_happen_in_other_versions_only(
        self, client: httpx.AsyncClient, task: str, write: Write, form: str, status: int
    ) -> None:
        condition = ("If-None-Match", form.format(await tag(client, task)))
        assert (await send(client, task, write, condition)).status_code == status


class TestIfMatch:
    @writes
    @pytest.mark.parametrize("form", ["{}", '"other", {}', f"{{}},{OLD}", "*"])
    async def test_of_the_current_version_writes_in_one_statement(
        self, client: httpx.AsyncClient, sent_statements: list[Sent], task: str, write: Write, form: str
    ) -> None:
        condition = ("If-Match", form.format(await tag(client, task)))
        await statements_reported()
        sent_statements.clear()
        assert (await send(client, task, write, condition)).status_code == 200
        await statements_reported()
        assert len(sent_statements) == 1

    @writes
    @pytest.mark.parametrize(
        ("form", "advice"),
        [
            (OLD, "read it again"),
            ("", "read it again"),
            ("W/{}", "A proxy that compresses"),
            ('"other"', "A proxy that"),
        ],
    )
    async def test_of_any_other_is_412_and_changes_nothing(
        self, client: httpx.AsyncClient, task: str, write: Write, form: str, advice: str
    ) -> None:
        before = (await client.get(task)).json()
        condition = ("If-Match", form.format(await tag(client, task)))
        problem = assert_problem(await send(client, task, write, condition), 412)
        assert advice in problem["detail"]
        assert (await client.get(task)).json() == before

    async def test_may_come_in_several_lines(self, client: httpx.AsyncClient, task: str) -> None:
        lines = [("If-Match", '"other"'), ("If-Match", await tag(client, task))]
        assert (await send(client, task, WRITES["toggle"], *lines)).status_code == 200

    @writes
    @pytest.mark.parametrize("form", ["*", OLD, '"other"'])
    async def test_of_a_task_that_is_not_there_is_404_as_ever(
        self, client: httpx.AsyncClient, task: str, write: Write, form: str
    ) -> None:
        """For another user's task and for a missing one, the bytes are the same as without the condition."""
        for path in (f"{ALICE}/{MISSING_ID}", task.replace("alice", "mallory")):
            plain = await send(client, path, write)
            for header in ("If-Match", "If-None-Match"):
                answer = await send(client, path, write, (header, form))
                assert_problem(answer, 404)
                assert answer.content == plain.content

    async def test_of_another_version_lets_nothing_be_read(self, client: httpx.AsyncClient, task: str) -> None:
        assert_problem(await client.get(task, headers={"If-Match": OLD}), 412)
        assert (await client.get(task, headers={"If-Match": await tag(client, task)})).status_code == 200

    async def test_comes_before_if_none_match(self, client: httpx.AsyncClient, task: str) -> None:
        """RFC 9110, 13.2.2: `If-None-Match` is evaluated only if `If-Match` holds."""
        current = await tag(client, task)
        both = {"If-Match": OLD, "If-None-Match": current}
        assert (await client.get(task, headers=both)).status_code == 412
        assert (await client.get(task, headers={**both, "If-Match": current})).status_code == 304

    async def test_makes_the_retry_of_a_toggle_safe(self, client: httpx.AsyncClient, task: str) -> None:
        """A client that got no response sends the request again. It does not take effect twice."""
        condition = ("If-Match", await tag(client, task))
        first = await send(client, task, WRITES["toggle"], condition)
        again = await send(client, task, WRITES["toggle"], condition)
        assert (first.status_code, again.status_code) == (200, 412)
        assert (await client.get(task)).json() == first.json()


@writes
@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
async def test_a_condition_that_nobody_can_read_is_refused(
    client: httpx.AsyncClient, task: str, write: Write, header: str
) -> None:
    before = (await client.get(task)).json()
    assert assert_rejected(await send(client, task, write, (header, "1-a")), "header", header) == "etags"
    assert (await client.get(task)).json() == before


@pytest.mark.parametrize("path", [ALICE, "/health/live"])
async def test_what_has_no_versions_ignores_conditions(client: httpx.AsyncClient, path: str) -> None:
    """RFC 9110, 13.2.1, allows this for a resource without validators, here a list and a POST to it."""
    headers = {"If-Match": OLD, "If-None-Match": "*"}
    assert (await client.get(path, headers=headers)).status_code == 200
    if path == ALICE:
        assert (await client.post(path, headers=headers, json={"title": "x"})).status_code == 201


class TestRaces:
    @takes_effect_once
    async def test_of_writers_at_once_exactly_one_wins(self, client: httpx.AsyncClient, write: Write) -> None:
        """All of them send the version that they have read. Only one write takes effect."""
        for _ in range(40):
            task = f"{ALICE}/{(await create(client))['id']}"
            condition = ("If-Match", await tag(client, task))
            answers = await asyncio.gather(*(send(client, task, write, condition) for _ in range(4)))
            statuses = Counter(answer.status_code for answer in answers)
            assert statuses == {200: 1, 404 if write is WRITES["delete"] else 412: 3}

    async def test_read_change_write_back_loses_no_change(self, client: httpx.AsyncClient, task: str) -> None:
        """Several clients each increment a number in the title, and read again after a 412."""

        async def count_up() -> None:
            while True:
                read = await client.get(task)
                number = int(read.json()["title"].removeprefix("Buy milk") or 0) + 1
                condition = {"If-Match": read.headers["etag"]}
                if (await client.put(task, json={"title": f"Buy milk{number}"}, headers=condition)).status_code == 200:
                    return

        await asyncio.gather(*(count_up() for _ in range(25)))
        assert (await client.get(task)).json()["title"] == "Buy milk25"

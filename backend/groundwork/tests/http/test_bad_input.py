"""For any input that is not valid, the response says what is wrong, and nothing is written."""

import json
import re
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from app.main import create_app
from groundwork.testing.http import client_of
from groundwork.tests.http import (
    ALICE,
    MISSING_ID,
    assert_problem,
    assert_rejected,
    body_of,
    create,
    in_chunks,
    send_raw,
)

JSON = {"Content-Type": "application/json"}
LIMIT = 1024 * 1024
SECRET = "the-secret-of-alice"

pytestmark = pytest.mark.usefixtures("unchanged_tasks")


@pytest.fixture
async def task(client: httpx.AsyncClient) -> Any:
    return await create(client, description="Two litres")


@pytest.fixture
async def unchanged_tasks(task: Any, connection: asyncpg.Connection) -> AsyncIterator[None]:
    """No request of these tests may change the table. A test that may write deletes its rows."""
    before = await connection.fetch("SELECT * FROM tasks ORDER BY id")
    yield
    assert await connection.fetch("SELECT * FROM tasks ORDER BY id") == before


async def send_both(client: httpx.AsyncClient, task: Any, **request: Any) -> list[httpx.Response]:
    """The responses to the same body, sent to create a task and to update one."""
    return [await client.post(ALICE, **request), await client.put(f"{ALICE}/{task['id']}", **request)]


class TestJSON:
    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b"[]]",
            b'{"title": }',
            b"{'title': 'single quotes'}",
            b'{"title": "comma",}',
            b'{"title": "cut',
            b'{"title": "two"} {"title": "values"}',
            b'{"title": "tab\tinside"}',
            b'\xef\xbb\xbf{"title": "byte order mark"}',
            '{"title": "UTF-16"}'.encode("utf-16"),
            b'{"title": "invalid UTF-8: \xff\xfe"}',
            b'{"title": "overlong UTF-8: \xc0\xaf"}',
            b'{"title": "surrogate in UTF-8: \xed\xa0\x80"}',
            b'{"title": "\\ud800"}',
            b'{"title": "\\udc00\\ud800"}',
            b'{"title": "Buy milk", "extra": "\\ud800"}',
            b'{"title": "Buy milk", "extra": NaN}',
            b'{"title": "Buy milk", "extra": Infinity}',
            b'{"title": "Buy milk", "extra": -Infinity}',
            b'{"title": "Buy milk", "extra": 01}',
            b'{"title": "Buy milk", "extra": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b"[" * 100_000,
            b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        ],
        ids=lambda body: ascii(body[:45]),
    )
    async def test_that_is_malformed_is_refused(self, client: httpx.AsyncClient, task: Any, body: bytes) -> None:
        for response in await send_both(client, task, content=body, headers=JSON):
            problem = assert_problem(response, 400)
            [error] = problem["errors"]
            assert error["loc"] == ["body"]
            assert error["type"] == "json_invalid"
            assert re.fullmatch(r"This is not valid JSON: .+ at line \d+ column \d+", error["msg"])
            assert problem["detail"].endswith(error["msg"])
            assert "Buy milk" not in response.text

    @pytest.mark.parametrize(
        ("body", "place"),
        [(b'{"a": x}', "1 column 7"), (b'{\n"secret": 1,\n "b" 2}', "3 column 6"), (b"{", "1 column")],
    )
    async def test_the_place_of_a_mistake_is_named_also_by_a_plain_route_of_fastapi(
        self, client: httpx.AsyncClient, app: FastAPI, task: Any, body: bytes, place: str
    ) -> None:
        @app.post("/plain")
        async def plain(given: dict[str, Any]) -> None: ...

        answers = [await client.post("/plain", content=body, headers=JSON)]
        answers += list(await send_both(client, task, content=body, headers=JSON))
        for response in answers:
            [error] = assert_problem(response, 400)["errors"]
            assert (error["loc"], error["type"]) == (["body"], "json_invalid")
            assert f" at line {place}" in error["msg"]
            assert "secret" not in response.text

    async def test_the_first_mistake_is_the_detail(self, client: httpx.AsyncClient) -> None:
        one = assert_problem(await client.post(ALICE, json={}), 400)
        assert one["detail"] == "title: Field required"
        two = assert_problem(await client.post(ALICE, json={"title": 1, "description": 1, "completed": 1}), 400)
        assert two["detail"] == f"title: {two['errors'][0]['msg']} (and 2 more)"

    @pytest.mark.parametrize("body", ["[]", '[{"title": "a"}]', '"title"', "1", "true", "null"])
    async def test_that_is_no_object_is_refused(self, client: httpx.AsyncClient, task: Any, body: str) -> None:
        for response in await send_both(client, task, content=body, headers=JSON):
            assert_rejected(response, "body")

    async def test_that_is_empty_is_refused(self, client: httpx.AsyncClient, task: Any) -> None:
        for headers in ({}, JSON):
            for response in await send_both(client, task, content=b"", headers=headers):
                assert assert_rejected(response, "body") == "missing"

    @pytest.mark.parametrize("value", [0, 1, "true", "false", "", [], {}, 1.0, None])
    async def test_completed_must_be_a_boolean(self, client: httpx.AsyncClient, task: Any, value: Any) -> None:
        for response in await send_both(client, task, json={"title": "Buy milk", "completed": value}):
            assert_rejected(response, "body", "completed")

    @pytest.mark.parametrize("value", [0, 1.5, True, [], ["Buy milk"], {}, 10**400])
    @pytest.mark.parametrize("field", ["title", "description"])
    async def test_text_must_be_a_string(self, client: httpx.AsyncClient, task: Any, field: str, value: Any) -> None:
        for response in await send_both(client, task, json={"title": "Buy milk", field: value}):
            assert assert_rejected(response, "body", field) == "string_type"

    @pytest.mark.parametrize("text", ["\0", "Buy\0milk", "Buy milk\0"], ids=ascii)
    @pytest.mark.parametrize("field", ["title", "description"])
    async def test_text_must_hold_no_nul(self, client: httpx.AsyncClient, task: Any, field: str, text: str) -> None:
        for response in await send_both(client, task, json={"title": "Buy milk", field: text}):
            assert assert_rejected(response, "body", field) == "nul_character"

    @pytest.mark.parametrize("title", ["", " ", None])
    async def test_a_title_must_not_be_empty(self, client: httpx.AsyncClient, task: Any, title: str | None) -> None:
        for response in await send_both(client, task, json={"title": title}):
            assert_rejected(response, "body", "title")

    async def test_a_new_task_must_have_a_title(self, client: httpx.AsyncClient) -> None:
        assert assert_rejected(await client.post(ALICE, json={"description": "a"}), "body", "title") == "missing"

    async def test_every_rejected_part_is_named(self, client: httpx.AsyncClient) -> None:
        body = {"title": 1, "description": "a" * 1001, "completed": "no"}
        response = await client.post("/api/" + "a" * 256 + "/tasks", json=body)
        named = [error["loc"] for error in assert_problem(response, 400)["errors"]]
        assert named == [["path", "user_id"], ["body", "title"], ["body", "description"], ["body", "completed"]]

    async def test_what_was_rejected_is_not_repeated(self, client: httpx.AsyncClient, task: Any) -> None:
        bodies = [{"title": [SECRET]}, {"title": SECRET * 20}, {"title": SECRET, "completed": SECRET}, [SECRET], SECRET]
        for body in bodies:
            for response in await send_both(client, task, json=body):
                assert_problem(response, 400)
                assert SECRET not in response.text
        for content in (f'{{"title": "{SECRET}', f'{{"{SECRET}": NaN}}'):
            for response in await send_both(client, task, content=content, headers=JSON):
                assert_problem(response, 400)
                assert SECRET not in response.text


class TestUnusualButValidJSON:
    """Inputs that are unusual and harmless."""

    @pytest.mark.parametrize(
        ("body", "title"),
        [
            ('{"title": "first", "title": "last"}', "last"),
            ('{"title": "a", "extra": ' + "9" * 4000 + "}", "a"),
            ('{"title": "a", "extra": 1e999}', "a"),
            ('{"title": "a", "extra": ' + "[" * 100 + "]" * 100 + "}", "a"),
            ('\n\t {"title": "a"} \r\n', "a"),
            ('{"title": "\\ud83e\\udd5b"}', "\U0001f95b"),
        ],
        ids=lambda text: ascii(text[:30]),
    )
    async def test_is_accepted(self, client: httpx.AsyncClient, body: str, title: str) -> None:
        response = await client.post(ALICE, content=body, headers=JSON)
        assert (response.status_code, response.json()["title"]) == (201, title)
        await client.delete(response.headers["location"])


class TestMediaType:
    @pytest.mark.parametrize(
        "content_type",
        [
            None,
            "",
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=a",
            "application/jsonp",
            "application/xml",
            "json",
            "image/svg+json",
        ],
    )
    async def test_other_than_json_is_refused(
        self, client: httpx.AsyncClient, task: Any, content_type: str | None
    ) -> None:
        headers = {} if content_type is None else {"Content-Type": content_type}
        for response in await send_both(client, task, content=b'{"title": "a"}', headers=headers):
            assert_problem(response, 415)

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/json",
            "APPLICATION/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json ; x=y",
            "application/vnd.example+json",
            "application/merge-patch+json",
        ],
    )
    async def test_json_in_every_spelling_is_accepted(self, client: httpx.AsyncClient, content_type: str) -> None:
        response = await client.post(ALICE, content='{"title": "é"}'.encode(), headers={"Content-Type": content_type})
        assert (response.status_code, response.json()["title"]) == (201, "é")
        await client.delete(response.headers["location"])

    async def test_json_is_utf_8_whatever_the_charset_says(self, client: httpx.AsyncClient, task: Any) -> None:
        headers = {"Content-Type": "application/json; charset=latin-1"}
        for response in await send_both(client, task, content='{"title": "é"}'.encode("latin-1"), headers=headers):
            assert_problem(response, 400)

    @pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("PATCH", "/complete"), ("DELETE", "")])
    async def test_does_not_matter_where_no_body_is_expected(
        self, client: httpx.AsyncClient, method: str, suffix: str
    ) -> None:
        path = f"{ALICE}/{MISSING_ID}{suffix}"
        response = await client.request(method, path, content=b"<a/>", headers={"Content-Type": "text/xml"})
        assert_problem(response, 404)


class TestTaskId:
    OPERATIONS = (("GET", ""), ("PUT", ""), ("DELETE", ""), ("PATCH", "/complete"))

    @pytest.mark.parametrize(
        "task_id",
        ["1", "no-uuid", MISSING_ID[:-1], MISSING_ID + "0", MISSING_ID.replace("0", "g"), "%00", "%20" + MISSING_ID,
         MISSING_ID + "%0A", "%D9%A0" + MISSING_ID[1:], "a%2Fb", "0" * 10_000],
        ids=lambda task_id: task_id[:40],
    )  # fmt: skip
    async def test_that_is_no_uuid_is_refused(self, client: httpx.AsyncClient, task_id: str) -> None:
        for method, suffix in self.OPERATIONS:
            response = await client.request(method, f"{ALICE}/{task_id}{suffix}", json={})
            assert_rejected(response, "path", "task_id")

    async def test_is_found_in_every_spelling_of_a_uuid(self, client: httpx.AsyncClient, task: Any) -> None:
        id = task["id"]
        for spelling in (
            id,
            id.upper(),
            id.replace("-", ""),
            f"urn:uuid:{id}",
            quote(f"{{{id}}}"),
            id.replace("7", "%37"),
        ):
            response = await client.get(f"{ALICE}/{spelling}")
            assert (response.status_code, response.json()) == (200, task)


class TestUserId:
    # Texts as they stand in a path, and what they mean. A client encodes every reserved character.
    SPELLINGS = (
        ("a%2Fb", "a/b"),
        ("%2F", "/"),
        ("a%2Ftasks%2Fb", "a/tasks/b"),
        ("a%252Fb", "a%2Fb"),
        ("%2E%2E", ".."),
        ("...", "..."),
        ("%20", " "),
        ("%20alice%20", " alice "),
        ("%0A%09%7F", "\n\t\x7f"),
        ("%22%27%3B--", "\"';--"),
        ("a%3Fb%23c", "a?b#c"),
        ("a+b@c.d:e;f=g,h", "a+b@c.d:e;f=g,h"),
        ("auth0%7C5f7c8ec7c33c6c004bbafe82", "auth0|5f7c8ec7c33c6c004bbafe82"),
        ("%F0%9F%A5%9B" * 255, "\U0001f95b" * 255),
        ("a" * 255, "a" * 255),
    )

    @pytest.mark.parametrize(("spelled", "user_id"), SPELLINGS, ids=lambda text: ascii(text[:30]))
    async def test_may_hold_any_text(self, client: httpx.AsyncClient, spelled: str, user_id: str) -> None:
        response = await client.post(f"/api/{spelled}/tasks", json={"title": "Buy milk"})
        created = response.json()
        location = response.headers["location"]
        assert (response.status_code, created["user_id"]) == (201, user_id)
        assert location == f"/api/{spelled}/tasks/{created['id']}"
        assert (await client.get(location)).json() == created
        assert (await client.get(f"/api/{spelled}/tasks")).json() == [created]
        assert (await client.delete(location)).status_code == 200

    @pytest.mark.parametrize(
        ("spelled", "wrong"),
        [
            ("", "string_too_short"),
            ("a" * 256, "string_too_long"),
            ("%F0%9F%A5%9B" * 256, "string_too_long"),
            ("%00", "nul_character"),
            ("alice%00", "nul_character"),
        ],
        ids=lambda text: text[:20],
    )
    async def test_that_cannot_be_stored_is_refused(self, client: httpx.AsyncClient, spelled: str, wrong: str) -> None:
        path = f"/api/{spelled}/tasks"
        on_one = f"{path}/{MISSING_ID}"
        for response in (
            await client.get(path),
            await client.post(path, json={"title": "Buy milk"}),
            await client.get(on_one),
            await client.put(on_one, json={"title": "Buy milk"}),
            await client.patch(f"{on_one}/complete"),
            await client.delete(on_one),
        ):
            assert assert_rejected(response, "path", "user_id") == wrong

    @pytest.mark.parametrize("spelled", ["%FF", "alice%FF", "%C3", "%ED%A0%80", "%C0%AF"])
    async def test_that_is_not_utf_8_is_refused(self, client: httpx.AsyncClient, spelled: str) -> None:
        path = f"/api/{spelled}/tasks"
        for response in (await client.get(path), await client.post(path, json={"title": "Buy milk"})):
            assert assert_rejected(response, "path") == "invalid_utf8"

    async def test_with_a_slash_never_reaches_another_path(self, client: httpx.AsyncClient, task: Any) -> None:
        """A proxy may check that the user's segment is the caller's own."""
        for path in (f"/api/alice%2Ftasks%2F{task['id']}", f"/api/alice%2Ftasks/{task['id']}", "/api/alice%2Ftasks"):
            for method in ("GET", "PUT", "DELETE", "POST"):
                assert_problem(await client.request(method, path, json={}), 404)
        path = f"/api/mallory%2F..%2Falice/tasks/{task['id']}"
        assert_problem(await client.get(path), 404)

    @pytest.mark.parametrize("dots", [".", ".."])
    async def test_of_dots_is_a_user_id_like_any_other(self, app: FastAPI, dots: str) -> None:
        """Clients and proxies resolve such paths before they send them, so the service takes them literally."""
        start, *rest = await send_raw(app, "GET", f"/api/{dots}/tasks", [])
        assert (start["status"], body_of(rest)) == (200, [])

    async def test_parts_of_a_path_are_not_confused(self, client: httpx.AsyncClient, task: Any) -> None:
        for path in (f"/api//alice/tasks/{task['id']}", f"//api/alice/tasks/{task['id']}", f"{ALICE}//{task['id']}"):
            assert_problem(await client.get(f"http://test{path}"), 404)


class TestBodySize:
    @staticmethod
    def padded(size: int) -> bytes:
        """A valid body of this size in bytes."""
        return json.dumps({"title": "Buy milk"}).encode().ljust(size)

    @staticmethod
    async def unread() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    @pytest.mark.parametrize("chunks", [lambda body: body, lambda body: in_chunks([body[:9], body[9:]])])
    async def test_at_the_limit_is_accepted(self, client: httpx.AsyncClient, chunks: Any) -> None:
        response = await client.post(ALICE, content=chunks(self.padded(LIMIT)), headers=JSON)
        assert response.status_code == 201
        await client.delete(response.headers["location"])

    async def test_over_the_limit_is_refused_without_being_read(self, client: httpx.AsyncClient, task: Any) -> None:
        headers = {**JSON, "Content-Length": str(LIMIT + 1)}
        for method, path in (("POST", ALICE), ("PUT", f"{ALICE}/{task['id']}"), ("GET", ALICE), ("POST", "/nowhere")):
            response = await client.request(method, path, content=self.unread(), headers=headers)
            problem = assert_problem(response, 413)
            assert str(LIMIT) in problem["detail"]
            assert response.headers["connection"] == "close"

    async def test_over_the_limit_is_refused_while_it_is_read(self, client: httpx.AsyncClient, task: Any) -> None:
        async def endless() -> AsyncIterator[bytes]:
            for _ in range(LIMIT // 1000 + 1):
                yield b" " * 1000
            pytest.fail("more was read than is needed to see that it is too much")

        for method, path in (("POST", ALICE), ("PUT", f"{ALICE}/{task['id']}")):
            response = await client.request(method, path, content=endless(), headers=JSON)
            assert_problem(response, 413)
            assert response.headers["connection"] == "close"

    async def test_is_limited_as_configured(self, settings: Settings) -> None:
        async def post(body: Iterable[bytes] | bytes) -> int:
            content = body if isinstance(body, bytes) else in_chunks(body)
            return (await client.post(ALICE, content=content, headers=JSON)).status_code

        app = create_app(settings.model_copy(update={"request_body_limit_bytes": 10}))
        async with app.router.lifespan_context(app), client_of(app) as client:
            assert [await post(b'{"a":1   }'), await post([b'{"a":1', b"   }"])] == [400, 400]
            assert [await post(b'{"a":1    }'), await post([b'{"a":1', b"    }"])] == [413, 413]


@pytest.mark.parametrize("value", ["", "2", "null", "maybe", " true"])
async def test_a_completed_filter_that_is_no_boolean_is_refused(client: httpx.AsyncClient, value: str) -> None:
    response = await client.get(ALICE, params={"completed": value})
    assert assert_rejected(response, "query", "completed") == "bool_parsing"


async def test_unknown_query_parameters_are_ignored(client: httpx.AsyncClient, task: Any) -> None:
    assert (await client.get(f"{ALICE}?offset=5&user_id=bob")).json() == [task]

"""Every path that takes GET takes HEAD, with the same response without the body (RFC 9110, 9.3.2)."""

import json
import logging
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Response

from groundwork.tests.http import ALICE, MISSING_ID, create, send_raw

OWN = APIRouter(prefix="/own")


@OWN.get("/get")
async def only_get() -> list[int]:
    return [1, 2]


@OWN.get("/both")
async def get() -> str:
    return "GET"


@OWN.head("/both")
async def head() -> Response:
    return Response(headers={"X-Own": "HEAD"})


def shown(answer: httpx.Response) -> Any:
    return answer.status_code, [(name, value) for name, value in answer.headers.raw if name != b"x-request-id"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (ALICE, 200),
        (f"{ALICE}?limit=1", 200),
        ("/health/live", 200),
        ("/health/ready", 200),
        ("/docs", 200),
        ("/docs/files/swagger-ui.css", 200),
        ("/openapi.json", 200),
        ("/own/get", 200),
        (f"{ALICE}?limit=0", 400),
        (f"{ALICE}/no-uuid", 400),
        ("/api/%FF/tasks", 400),
        (f"{ALICE}/{MISSING_ID}", 404),
        ("/nowhere", 404),
        ("/docs/files/nothing", 404),
        (f"{ALICE}/{MISSING_ID}/complete", 405),
    ],
)
async def test_head_answers_as_get_does(client: httpx.AsyncClient, app: FastAPI, path: str, status: int) -> None:
    app.include_router(OWN)
    for title in "ab":
        await create(client, title=title)
    got, asked = await client.get(path), await client.head(path)
    assert asked.status_code == status
    assert shown(asked) == shown(got)
    assert int(asked.headers["content-length"]) == len(got.content) > 0


async def test_conditions_hold_for_head(client: httpx.AsyncClient) -> None:
    task = await client.post(ALICE, json={"title": "x"})
    path, tag = task.headers["location"], task.headers["etag"]
    for headers, status in (({"If-None-Match": tag}, 304), ({"If-Match": '"1-1"'}, 412), ({"If-Match": tag}, 200)):
        got, asked = await client.get(path, headers=headers), await client.head(path, headers=headers)
        assert asked.status_code == status
        assert shown(asked) == shown(got)


async def test_head_takes_the_short_way_too(client: httpx.AsyncClient, app: FastAPI) -> None:
    """This holds for a path with an escape too, which is decoded before routing."""
    await create(client, "/api/a%2Fb/tasks")
    messages = [{"type": "http.request", "body": b"", "more_body": False}]
    start, _ = await send_raw(app, "HEAD", "/api/a%2Fb/tasks", messages)
    assert start["status"] == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", ALICE, "GET, HEAD, POST"),
        ("POST", f"{ALICE}/{MISSING_ID}", "DELETE, GET, HEAD, PUT"),
        ("POST", "/health/live", "GET, HEAD"),
        ("POST", "/docs", "GET, HEAD"),
        ("HEAD", f"{ALICE}/{MISSING_ID}/complete", "PATCH"),
    ],
)
async def test_allow_names_head_beside_get(client: httpx.AsyncClient, method: str, path: str, allow: str) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


async def test_a_route_that_takes_head_itself_gets_it(client: httpx.AsyncClient, app: FastAPI) -> None:
    app.include_router(OWN)
    assert (await client.head("/own/both")).headers["x-own"] == "HEAD"
    assert (await client.get("/own/both")).json() == "GET"


async def test_head_has_a_line_of_its_own(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    await client.head(ALICE)
    event = json.loads(capsys.readouterr().err)
    assert (event["method"], event["route"], event["status"]) == ("HEAD", "/api/{user_id}/tasks", 200)
    assert event["user"]


async def test_the_document_lists_no_head(client: httpx.AsyncClient) -> None:
    """Generators of clients would make two functions of each operation. The description says that HEAD exists."""
    document = (await client.get("/openapi.json")).json()
    assert not [path for path, operations in document["paths"].items() if "head" in operations]
    assert "HEAD" in document["info"]["description"]

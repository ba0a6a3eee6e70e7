"""What the tests through HTTP share."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.types import ASGIApp, Message

ALICE = "/api/alice/tasks"
MISSING_ID = "01990000-0000-7000-8000-000000000000"
PROBLEM_MEMBERS = ["type", "title", "status", "detail"]


async def create(client: httpx.AsyncClient, path: str = ALICE, /, **task: Any) -> Any:
    """A new task, as the service answers it."""
    response = await client.post(path, json={"title": "Buy milk", **task})
    assert response.status_code == 201, response.text
    return response.json()


async def statements_reported() -> None:
    """asyncpg reports a statement to those who listen in the event loop's next turn."""
    await asyncio.sleep(0)


async def in_chunks(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """A request body whose length is not known beforehand."""
    for chunk in chunks:
        yield chunk


def assert_problem(response: httpx.Response, status: int) -> Any:
    """The answer is a problem with exactly the promised members, and nothing internal in it; returns the members."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    problem = response.json()
    assert list(problem) == PROBLEM_MEMBERS + ["errors"] * (status == 400)
    assert problem["type"] == "about:blank"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    for internal in ("asyncpg", "sqlalchemy", "postgres", "select ", "insert ", "traceback", '.py"', "127.0.0.1"):
        assert internal not in response.text.lower()
    return problem


def assert_rejected(response: httpx.Response, *loc: str | int) -> Any:
    """The answer is 400 and names just this place; returns the name of what is wrong."""
    problem = assert_problem(response, 400)
    assert len(problem["errors"]) == 1, problem
    [error] = problem["errors"]
    assert set(error) == {"loc", "msg", "type"}
    assert error["loc"] == list(loc)
    assert error["msg"]
    return error["type"]


async def send_raw(
    app: ASGIApp,
    method: str,
    raw_path: str,
    messages: Iterable[Message],
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> list[Message]:
    """Call the application with a path that httpx would normalise, or with what it would never send."""
    path, _, query = raw_path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": [(b"host", b"test"), (b"content-type", b"application/json"), *headers],
        "server": ("test", 80),
        "client": ("127.0.0.1", 1),
    }
    incoming = iter(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        return next(incoming)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def body_of(sent: list[Message]) -> Any:
    return json.loads(b"".join(message.get("body", b"") for message in sent))

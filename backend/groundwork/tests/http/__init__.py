"""Helpers for the tests of HTTP."""

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.types import ASGIApp, Message

from groundwork.testing.http import MISSING_ID, assert_problem, assert_rejected, statements_reported

__all__ = [
    "ALICE",
    "MISSING_ID",
    "assert_problem",
    "assert_rejected",
    "body_of",
    "create",
    "in_chunks",
    "send_raw",
    "statements_reported",
]

ALICE = "/api/alice/tasks"


async def create(client: httpx.AsyncClient, path: str = ALICE, /, **task: Any) -> Any:
    """Create a task. Returns it as the service answers it."""
    response = await client.post(path, json={"title": "Buy milk", **task})
    assert response.status_code == 201, response.text
    return response.json()


async def in_chunks(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """A request body in chunks, whose length is not declared."""
    for chunk in chunks:
        yield chunk


async def send_raw(
    app: ASGIApp,
    method: str,
    raw_path: str,
    messages: Iterable[Message],
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> list[Message]:
    """Call the application with a request that httpx would normalise or could not send."""
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

"""A request with an Idempotency-Key takes effect once, and each retry gets the first answer again."""

import asyncio
from typing import Any

import asyncpg
import httpx

from groundwork.testing.http import assert_problem, assert_rejected
from groundwork.testing.parametrize import EACH, promise
from groundwork.testing.resource import Operation, Resource

KEY = {"Idempotency-Key": '"a retry"'}
_SAFE = ("GET", "HEAD", "OPTIONS")


def shown(answer: httpx.Response) -> Any:
    """Everything that a client sees of the answer, except the request's id."""
    headers = [(name, value) for name, value in answer.headers.raw if name.lower() != b"x-request-id"]
    return answer.status_code, headers, answer.content


@promise("idempotency", "create")
async def test_a_retry_with_its_key_creates_no_second(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    body = resource.body(**resource.optional)
    first = await client.post(resource.of("alice"), json=body, headers=KEY)
    assert first.status_code == 201, first.text
    for _ in range(2):
        assert shown(await client.post(resource.of("alice"), json=body, headers=KEY)) == shown(first)
    assert len(await resource.rows(connection)) == 1


@promise("idempotency", "create")
async def test_retries_at_once_create_one(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    posts = (client.post(resource.of("alice"), json=resource.body(), headers=KEY) for _ in range(5))
    answers = await asyncio.gather(*posts)
    assert len({str(shown(answer)) for answer in answers}) == 1
    assert len(await resource.rows(connection)) == 1


@promise("idempotency", "create")
async def test_a_key_is_for_one_request_of_one_user(client: httpx.AsyncClient, resource: Resource) -> None:
    first = await client.post(resource.of("alice"), json=resource.body(), headers=KEY)
    other = await client.post(resource.of("alice"), json={**resource.body(), "unknown": 1}, headers=KEY)
    assert_problem(other, 409)
    mallorys = await client.post(resource.of("mallory"), json=resource.new_body(), headers=KEY)
    assert mallorys.status_code == 201, "one user's key must not show that another has used it"
    assert mallorys.json()["id"] != first.json()["id"]


@promise("idempotency", "create")
async def test_a_key_that_is_none_is_refused(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    answer = await client.post(resource.of("alice"), json=resource.body(), headers={"Idempotency-Key": "two words"})
    assert_rejected(answer, "header", "Idempotency-Key")
    assert await resource.rows(connection) == []


@promise("idempotency", EACH)
async def test_a_key_is_not_ignored(
    client: httpx.AsyncClient, connection: asyncpg.Connection, operation: Operation
) -> None:
    """An ignored key would be worse than none, because the client relies on it."""
    resource = operation.resource
    id_ = await resource.insert(connection)
    before = await resource.rows(connection)
    client.headers.update(KEY)
    path = resource.of("alice")
    answer = await operation.send(client, f"{path}/{id_}" if operation.is_on_one else path)
    if answer.request.method in _SAFE:
        assert answer.is_success, "an operation that only reads must accept a request with a key"
    elif answer.status_code == 400:
        assert_rejected(answer, "header", "Idempotency-Key")
        assert await resource.rows(connection) == before
    else:
        again = await operation.send(client, f"{path}/{id_}" if operation.is_on_one else path)
        assert shown(again) == shown(answer), "a retry with its key gets another answer than the first attempt"

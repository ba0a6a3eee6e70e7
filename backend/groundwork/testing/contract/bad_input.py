"""A bad request gets an answer that says what is wrong, and nothing is written."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from groundwork import ids
from groundwork.serve.settings import Settings
from groundwork.testing.body_columns import unfit_members
from groundwork.testing.http import MISSING_ID, assert_problem, assert_rejected
from groundwork.testing.parametrize import EACH, ON_ONE, promise
from groundwork.testing.resource import Differs, Operation, Resource

JSON = {"Content-Type": "application/json"}
SECRET = "the-secret-of-alice"
BLANK = ("", " ", "\u3000\n")
MALFORMED = (
    b"{",
    b'{"comma": 1,}',
    b'{"two": 1} {"values": 2}',
    b'{"not a number": NaN}',
    b'{"surrogate": "\\ud800"}',
    b'{"not UTF-8": "\xff\xfe"}',
    b"[" * 100_000,
)
# At the edges of PostgreSQL's types, and beyond them.
EXTREMES: tuple[Any, ...] = (
    *(0, 2**15, 2**31, -(2**31) - 1, 2**63, 2**64, 10**100, 1.5, 1e308, True),
    *("", "\0", "x\0", "x" * 10_000, "9" * 20, "-9999999999", "0.0000001", "1e5", "1e999999", "NaN", "Infinity"),
    *("0000-01-01", "0001-01-01", "9999-12-31", "10000-01-01", "1577836800", "23:59:59.999999", "12:00:00+02:00"),
    *(
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59.999999Z",
        "2026-11-23T17:39:08",
        "P999999999D",
        "P99999999999Y",
    ),
)


def shapes(example: Any, value: Any) -> Iterator[Any]:
    """The value, and the example with the value in each of its places."""
    yield value
    if isinstance(example, list):
        yield from ([each] for each in shapes(example[0] if example else None, value))
    if isinstance(example, dict):
        yield {**example, "\0": value}
        for name in example:
            yield from ({**example, name: each} for each in shapes(example[name], value))


async def refused(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource, **request: Any
) -> AsyncIterator[httpx.Response]:
    """Send the request as a create and as an update, and yield both answers. Neither may write anything."""
    path = f"{resource.of('alice')}/{await resource.insert(connection)}"
    before = await resource.rows(connection)
    yield await client.post(resource.of("alice"), **request)
    yield await client.put(path, **request)
    assert await resource.rows(connection) == before, "a refused request has written something"


@promise("bad input", "create", "update")
async def test_json_that_is_malformed_is_refused(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    for body in MALFORMED:
        async for response in refused(client, connection, resource, content=body, headers=JSON):
            [error] = assert_problem(response, 400)["errors"]
            assert (error["loc"][0], error["type"]) == ("body", "json_invalid"), body[:30]


@promise("bad input", "create", "update")
async def test_a_body_that_is_no_object_is_refused(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    for body in ("[]", '"text"', "1", "null", ""):
        async for response in refused(client, connection, resource, content=body, headers=JSON):
            assert_rejected(response, "body")


@promise("bad input", "create", "update")
async def test_another_media_type_than_json_is_refused(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        async for response in refused(client, connection, resource, content=b'{"a": 1}', headers=headers):
            assert_problem(response, 415)


@promise("bad input", "create", "update")
async def test_a_body_over_the_limit_is_refused(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource, settings: Settings
) -> None:
    body = b" " * (settings.request_body_limit_bytes + 1)
    async for response in refused(client, connection, resource, content=body, headers=JSON):
        assert_problem(response, 413)


@promise("bad input", EACH)
async def test_the_column_of_each_member_can_hold_its_values(app: FastAPI, operation: Operation) -> None:
    table = operation.resource.stored.described
    unfit = [] if table is None else unfit_members(app, operation.name, table)
    assert not unfit, "\n".join(unfit)


@promise("bad input", "create", "update")
async def test_each_member_is_of_its_type(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    for member, value in resource.body(**resource.optional).items():
        wrong: Any = [SECRET] if isinstance(value, dict) else {SECRET: SECRET}
        async for response in refused(client, connection, resource, json=resource.body(**{member: wrong})):
            errors = assert_problem(response, 400)["errors"]
            assert all(error["loc"][:2] == ["body", member] for error in errors), f"{member}: {errors}"
            assert SECRET not in response.text, "the answer repeats a rejected value, which may be a secret or a script"


@promise("bad input", "create", "update")
async def test_a_required_text_is_never_missing(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    wrong: tuple[Any, ...] = (None, *BLANK, 7, "\0", "x" * 10_000)
    for text in wrong if resource.text else ():
        async for response in refused(client, connection, resource, json=resource.body(**{str(resource.text): text})):
            assert_rejected(response, "body", str(resource.text))


@promise("bad input", "create")
async def test_a_required_member_is_asked_for(client: httpx.AsyncClient, resource: Resource) -> None:
    for member in resource.body():
        body = {name: value for name, value in resource.body().items() if name != member}
        assert_rejected(await client.post(resource.of("alice"), json=body), "body", member)


@promise("bad input", "create", "update")
async def test_no_value_is_a_defect(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    path = f"{resource.of('alice')}/{await resource.insert(connection)}"
    for member, example in resource.body(**resource.optional).items():
        for value in (shape for extreme in EXTREMES for shape in shapes(example, extreme)):
            made = await client.post(resource.of("alice"), json=resource.body(**{member: value}))
            if resource.unique_keys and made.status_code == 201:  # the values are free again for the next requests
                await resource.stored.remove(connection, "alice", [made.json()["id"]])
            for answer in (made, await client.put(path, json={member: value})):
                assert answer.status_code < 500, (
                    f"{member}: {value!r:.100} is answered with 500: give the member the bounds of its column, as in"
                    " groundwork/docs/values.md"
                )


async def test_no_value_of_a_parameter_is_a_defect(
    app: FastAPI, client: httpx.AsyncClient, differs: Mapping[str, Differs]
) -> None:
    for path, operations in app.openapi()["paths"].items():
        operation = operations.get("get", {})
        name = operation.get("operationId", "")
        if "{user_id}" not in path or (name in differs and "bad input" in differs[name].from_):
            continue
        own = path.replace("{user_id}", "alice")
        for parameter in operation.get("parameters", ()):
            for value in map(str, EXTREMES):
                inside = own.replace(f"{{{parameter['name']}}}", quote(value[:100], safe=""))
                given = {parameter["name"]: value} if parameter["in"] == "query" else {}
                answer = await client.get(re.sub(r"{\w+}", MISSING_ID, inside), params=given)
                assert answer.status_code < 500, (
                    f"{name}: {parameter['name']}={value!r:.100} is answered with 500: give the parameter bounds, or"
                    " Annotated[…, JSONForm()], as in groundwork/docs/values.md"
                )


@promise("bad input", "create")
async def test_the_database_refuses_what_the_api_refuses(connection: asyncpg.Connection, resource: Resource) -> None:
    await resource.insert(connection)
    wrong: list[tuple[str, dict[str, str]]] = [("", {}), ("u" * 256, {})]
    if resource.text:
        wrong += [("alice", {resource.text: text}) for text in (*BLANK, " x")]
    for user_id, members in wrong:
        with pytest.raises((asyncpg.CheckViolationError, asyncpg.StringDataRightTruncationError)):
            await resource.insert(connection, user_id, id=ids.uuid7(), **members)


@promise("bad input", ON_ONE)
async def test_an_id_that_is_no_uuid_is_refused(client: httpx.AsyncClient, operation: Operation) -> None:
    resource = operation.resource
    for id_ in ("7", MISSING_ID[:-1], "%00", f"{MISSING_ID}%0A"):
        answer = await operation.send(client, f"{resource.of('alice')}/{id_}")
        assert_rejected(answer, "path", f"{resource.name}_id")


@promise("bad input", ON_ONE)
async def test_what_is_missing_is_answered_as_a_problem(client: httpx.AsyncClient, operation: Operation) -> None:
    assert_problem(await operation.send(client, f"{operation.resource.of('alice')}/{MISSING_ID}"), 404)


@promise("bad input", EACH)
async def test_a_user_id_that_cannot_be_stored_is_refused(client: httpx.AsyncClient, operation: Operation) -> None:
    for spelled in ("", "a" * 256, "alice%00", "%FF"):
        path = operation.resource.of("alice").replace("/api/alice/", f"/api/{spelled}/")
        answer = await operation.send(client, f"{path}/{MISSING_ID}" if operation.is_on_one else path)
        assert_problem(answer, 400)

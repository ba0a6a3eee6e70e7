"""Helpers for tests that call the application and check its answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from groundwork.errors import AppError

MISSING_ID = "01990000-0000-7000-8000-000000000000"
PROBLEM_MEMBERS = ["type", "title", "status", "detail"]


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls the application in process. The application's lifespan must have begun."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def statements_reported() -> None:
    """Wait for asyncpg's query loggers. asyncpg calls them in the next turn of the event loop."""
    await asyncio.sleep(0)


def etag_of(response: httpx.Response, operation: str) -> str:
    """The answer's entity tag. If there is none, the test fails, and says what the operation's route must return."""
    if "etag" not in response.headers:
        if response.status_code == 201:
            way = "created(request, response, …)"
        elif response.request.method == "GET":
            way = "not_modified_or(response, …, condition)"
        else:
            way = "with_etag(response, …)"
        raise AssertionError(
            f"{operation} answers {response.status_code} without an ETag: let its route return {way}, from"
            " groundwork.http.conditional"
        )
    return response.headers["etag"]


INTERNAL = ("asyncpg", "sqlalchemy", "postgres", "select ", "insert ", "traceback", '.py"', "127.0.0.1")
"""What no error may tell a client."""


def assert_problem(response: httpx.Response, status: int, kind: type[AppError] = AppError) -> Any:
    """Check that the answer is a problem with exactly the promised members and nothing internal. Returns its members.

    Args:
        kind: the class of the error, if its problem has a type of its own.
    """
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    problem = response.json()
    assert list(problem) == PROBLEM_MEMBERS + ["errors"] * (status == 400)
    assert problem["type"] == kind.type
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert [word for word in INTERNAL if word in response.text.lower()] == []
    return problem


def assert_rejected(response: httpx.Response, *loc: str | int) -> Any:
    """Check that the answer is a 400 with one error, at this place. Returns the `type` of the error."""
    problem = assert_problem(response, 400)
    assert len(problem["errors"]) == 1, problem
    [error] = problem["errors"]
    assert set(error) == {"loc", "msg", "type"}
    assert error["loc"] == list(loc)
    assert error["msg"]
    return error["type"]

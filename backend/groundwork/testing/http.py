"""Helpers with which tests call the application and check its answers."""

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
    """Calls the application in process. Its lifespan must have begun."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def statements_reported() -> None:
    """Wait for asyncpg's query loggers, which it calls in the event loop's next turn."""
    await asyncio.sleep(0)


def etag_of(response: httpx.Response, operation: str) -> str:
    """The answer's entity tag. Without one, the test fails and says what the operation's route must return."""
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


def assert_problem(response: httpx.Response, status: int, kind: type[AppError] = AppError) -> Any:
    """Check that the answer is a problem with exactly the promised members and nothing internal. Returns them.

    Args:
        kind: the service's own error, if its problem has a type of its own.
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
    for internal in ("asyncpg", "sqlalchemy", "postgres", "select ", "insert ", "traceback", '.py"', "127.0.0.1"):
        assert internal not in response.text.lower()
    return problem


def assert_rejected(response: httpx.Response, *loc: str | int) -> Any:
    """Check that the answer is 400 and names only this place. Returns the `type` of the error."""
    problem = assert_problem(response, 400)
    assert len(problem["errors"]) == 1, problem
    [error] = problem["errors"]
    assert set(error) == {"loc", "msg", "type"}
    assert error["loc"] == list(loc)
    assert error["msg"]
    return error["type"]

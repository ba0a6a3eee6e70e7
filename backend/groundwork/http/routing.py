"""The router, the route class and the dependencies of a resource."""

from collections.abc import Callable, Coroutine
from json import JSONDecodeError
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.requests import HTTPConnection
from fastapi.routing import APIRoute
from pydantic import WithJsonSchema
from pydantic_core import from_json
from starlette.responses import Response

from groundwork.data.database import Database
from groundwork.errors import Invalid, Unavailable, UnsupportedMediaType
from groundwork.http.bodies import is_json_request, replay_body
from groundwork.http.problems import problem_responses
from groundwork.text import WITHOUT_NUL, UserIdText


async def get_database(request: HTTPConnection) -> Database:
    """The application's database. Tests and services can replace this dependency."""
    database: Database = request.scope["app"].database
    return database


DatabaseDependency = Annotated[Database, Depends(get_database)]

UserId = Annotated[
    UserIdText,
    Path(
        description="The user who owns the rows. With sign-in, it must equal the token's `sub`.",
        json_schema_extra={"pattern": WITHOUT_NUL},
    ),
]

BooleanFilter = Annotated[bool | None, WithJsonSchema({"type": "boolean"})]
"""A query parameter that selects rows; without it, all rows are selected."""


def router_of(resource: str, *, below: str = "") -> APIRouter:
    """The router of a resource that belongs to users: its paths begin with `/api/{user_id}/` and the resource's name.

    Args:
        resource: the plural, as in the path, such as `tasks`.
        below: the part of the path between the two, for rows of a group: `organisations/{organisation_id}/`.
    """
    return APIRouter(
        prefix=f"/api/{{user_id:segment}}/{below}{resource}",
        tags=[resource],
        route_class=JSONRoute,
        responses=problem_responses(Invalid, Unavailable),
    )


class JSONRoute(APIRoute):
    """A route whose body must be strict JSON (RFC 8259), declared as JSON by Content-Type.

    NaN, lone surrogates and very deep nesting are refused. Python's `json` would accept them, or fail.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler

        async def handle(request: Request) -> Response:
            # The body is read here, because FastAPI answers with 400 to every error that occurs while it reads the
            # body. Reading also stores the body in the request that exception handlers get.
            body = await request.body()
            if body and not is_json_request(request.scope["headers"]):
                raise UnsupportedMediaType
            return await handler(_JSONRequest(request.scope, replay_body(body, request.receive)))

        return handle


class _JSONRequest(Request):
    async def json(self) -> Any:
        try:
            return from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            # FastAPI turns this exception into a validation error. Its message names the line and the column.
            raise JSONDecodeError(str(error), "", 0) from None

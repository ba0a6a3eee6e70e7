"""Route classes and dependencies that the resources share."""

from collections.abc import Callable, Coroutine
from json import JSONDecodeError
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.routing import APIRoute
from pydantic import WithJsonSchema
from pydantic_core import from_json
from starlette.responses import Response

from groundwork.data.database import Database
from groundwork.errors import Invalid, Unavailable, UnsupportedMediaType
from groundwork.http.bodies import is_json_request, replay_body
from groundwork.http.problems import problem_responses
from groundwork.text import WITHOUT_NUL, UserIdText


async def get_database(request: Request) -> Database:
    """The application's database. A dependency, so that a test or a template user can replace it."""
    database: Database = request.scope["app"].database
    return database


DatabaseDependency = Annotated[Database, Depends(get_database)]

UserId = Annotated[
    UserIdText,
    Path(
        description="Whose: the caller's own, which is checked where sign-in is on.",
        json_schema_extra={"pattern": WITHOUT_NUL},
    ),
]

BooleanFilter = Annotated[bool | None, WithJsonSchema({"type": "boolean"})]
"""A query parameter that chooses rows; what is not given chooses all."""


def router_of(resource: str) -> APIRouter:
    """The router of a resource that belongs to users, named as in its path."""
    return APIRouter(
        prefix=f"/api/{{user_id:segment}}/{resource}",
        tags=[resource],
        route_class=JSONRoute,
        responses=problem_responses(Invalid, Unavailable),
    )


class JSONRoute(APIRoute):
    """A route whose body is strict JSON: no NaN, no lone surrogates, no bottomless nesting, and JSON by its header."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler

        async def handle(request: Request) -> Response:
            # Read here, where its errors are ours: FastAPI makes a 400 of every error while it reads the body. The
            # given request keeps it, because exception handlers get that one.
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
            # The message names the place; FastAPI makes a validation error of this exception.
            raise JSONDecodeError(str(error), "", 0) from None

"""Runs a plain route with FastAPI's own validators and serialiser, and nothing around them."""

from typing import Any

from fastapi import BackgroundTasks, Request, Response
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.types import ASGIApp, Scope

from groundwork.fast import plain_parameters as parameters
from groundwork.fast.answers import CapturedHeaders, JSONAnswer
from groundwork.fast.found_route import FoundRoute
from groundwork.fast.plain_conditions import is_whole_model
from groundwork.fast.plain_json import json_writer
from groundwork.fast.serializer import Serializer


class PlainRoute(FoundRoute):
    """A route that does not need FastAPI's own routing.

    Args:
        context: the route as FastAPI's routing sees it; `plain_conditions.why_not_plain` returns None for it.
    """

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        dependant = context.dependant
        self.steps = parameters.steps_of(dependant)
        places = {each.place for step in self.steps for each in step.texts}
        self.takes_query = parameters.QUERY in places
        self.takes_headers = parameters.HEADERS in places
        self.body = [(field.name, parameters.validator_of(field)) for field in dependant.body_params]
        self.serializer = Serializer(context)
        self.is_whole_model = is_whole_model(context)
        needs = {place for step in self.steps for _, place in step.given}
        # The serialiser's errors name the request's method.
        self.needs_request = parameters.REQUEST in needs or not self.is_whole_model
        self.needs_response = parameters.RESPONSE in needs
        self.needs_tasks = parameters.TASKS in needs
        self.status = context.status_code or 200
        if self.is_whole_model:
            adapter = context.response_field._type_adapter
            self.validate, self.to_json = adapter.validator.validate_python, json_writer(adapter)

    def enter(self, scope: Scope, segments: list[str]) -> list[dict[str, Any]] | None:
        """The arguments of each step from path, query and headers. Writes what FastAPI's routing would write.

        Returns None if the arguments are not valid. FastAPI then says what is wrong.
        """
        try:
            path = self.path_texts(segments)
            if path is None:
                return None
            query = parameters.query_texts(scope) if self.takes_query else {}
            headers = parameters.header_texts(scope) if self.takes_headers else {}
            texts = (path, query, headers)
            arguments = [parameters.values_of(step.texts, texts) for step in self.steps]
        except ValueError:  # also pydantic's ValidationError
            return None
        self.write(scope, path)
        return arguments

    def with_body(self, arguments: list[dict[str, Any]], scope: Scope, body: bytes) -> list[dict[str, Any]] | None:
        """The arguments with the body added; None if the body is not valid."""
        if not body or not _is_plain_json(scope["headers"]):
            return None
        name, validate = self.body[0]
        try:
            arguments[-1][name] = validate(from_json(body, allow_inf_nan=False), from_attributes=True)
        except ValueError:
            return None
        return arguments

    async def response(self, arguments: list[dict[str, Any]], request: Request | None) -> ASGIApp | JSONAnswer:
        """Run the dependencies and the handler, and make the answer."""
        given = CapturedHeaders() if self.needs_response else None
        tasks = BackgroundTasks() if self.needs_tasks else None
        made: list[Any] = [request, given, tasks]
        for step, values in zip(self.steps, arguments, strict=True):
            for name, place in step.given:
                values[name] = made[place]
            made.append(await step.call(**values))
        result = made[-1]
        if isinstance(result, Response):
            if result.background is None:
                result.background = tasks
            return result
        if not self.is_whole_model:
            return await self.serializer.response(result, request, given, tasks)
        try:
            value = self.validate(result, from_attributes=True)
        except ValidationError:
            # Raises FastAPI's error. An application can have a handler for it.
            await self.serializer.content(result, request)
            raise
        body = self.to_json(value)
        if given is None:
            return JSONAnswer(self.status, body, [])
        if given.status_code:
            return self.serializer.answer(body, given, None)
        return JSONAnswer(self.status, body, given.raw_headers)


def _is_plain_json(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the content type is exactly `application/json`. A request with another one goes to FastAPI."""
    for name, value in headers:
        if name == b"content-type":
            return value == b"application/json"
    return False

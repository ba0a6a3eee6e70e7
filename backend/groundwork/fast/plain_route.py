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
        named = {key: (name, validate) for name, key, validate, _ in parameters.text_parameters(dependant.path_params)}
        # All parameters of the path, also those that only a dependency reads from `request.path_params`.
        self.path: list[Any] = [(*convertor, *named.get(convertor[0], (None, str))) for convertor in self.convertors]
        self.query = parameters.text_parameters(dependant.query_params)
        self.headers = parameters.header_parameters(dependant.header_params)
        self.body = parameters.text_parameters(dependant.body_params)
        self.dependencies = parameters.Dependencies(dependant)
        self.serializer = Serializer(context)
        self.is_whole_model = is_whole_model(context)
        needs = self.dependencies.needs
        # The serialiser's errors name the request's method.
        self.needs_request = parameters.REQUEST in needs or not self.is_whole_model
        self.needs_response = parameters.RESPONSE in needs
        self.needs_tasks = parameters.TASKS in needs
        self.call = parameters.awaitable(context.endpoint)
        self.status = context.status_code or 200
        if self.is_whole_model:
            adapter = context.response_field._type_adapter
            self.validate, self.to_json = adapter.validator.validate_python, json_writer(adapter)

    def enter(self, scope: Scope, segments: list[str]) -> dict[str, Any] | None:
        """The arguments from path, query and headers. Writes into the scope what FastAPI's routing would write.

        Returns None if the arguments are not valid. FastAPI then says what is wrong.
        """
        texts: dict[str, str] = {}
        values: dict[str, Any] = {}
        try:
            for key, place, convert, name, validate in self.path:
                if not segments[place]:
                    return None
                texts[key] = text = convert(segments[place])
                if name is not None:
                    values[name] = validate(text, from_attributes=True)
            if self.query:
                values.update(parameters.values_of(self.query, parameters.query_texts(scope)))
            if self.headers:
                values.update(parameters.values_of(self.headers, parameters.header_texts(scope)))
            if self.dependencies.have_texts:
                values[parameters.OWN_ARGUMENTS] = self.dependencies.arguments(texts, scope)
        except ValueError:  # also pydantic's ValidationError
            return None
        self.write(scope, texts)
        return values

    def with_body(self, arguments: dict[str, Any], scope: Scope, body: bytes) -> dict[str, Any] | None:
        """The arguments with the body added; None if the body is not valid."""
        if not body or not _is_plain_json(scope["headers"]):
            return None
        name, _, validate, _ = self.body[0]
        try:
            arguments[name] = validate(from_json(body, allow_inf_nan=False), from_attributes=True)
        except ValueError:
            return None
        return arguments

    async def response(self, arguments: dict[str, Any], request: Request | None) -> ASGIApp | JSONAnswer:
        """Run the dependencies and the handler, and make the answer."""
        given = CapturedHeaders() if self.needs_response else None
        tasks = BackgroundTasks() if self.needs_tasks else None
        own = arguments.pop(parameters.OWN_ARGUMENTS) if self.dependencies.have_texts else None
        made: list[Any] = [request, given, tasks]
        for call, takes_request, rest in self.dependencies.steps:
            if rest is None:
                result = await (call(request) if takes_request else call())
            else:
                values = own[len(made) - parameters.RESULTS] if own else {}
                for name, place in rest.given:
                    values[name] = made[place]
                result = await call(**values)
            made.append(result)
        for name, place in self.dependencies.given:
            arguments[name] = made[place]
        result = await self.call(**arguments)
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

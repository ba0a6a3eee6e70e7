"""Runs a plain route with FastAPI's own validators and serialiser, and nothing around them."""

from collections.abc import Awaitable, Callable, Iterator
from inspect import Parameter, signature
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.routing import _extract_endpoint_context, serialize_response
from pydantic import ValidationError
from pydantic_core import PydanticUndefined, from_json
from starlette.types import ASGIApp, Scope

from groundwork.fast.answers import CapturedHeaders, JSONAnswer, with_status
from groundwork.fast.plain_conditions import default_of
from groundwork.http.route_template import TEMPLATE


class _Path(NamedTuple):
    """A parameter of the path: its segment, and the handler's parameter for it, if there is one."""

    key: str
    place: int
    convert: Callable[[str], str]
    name: str | None
    validate: Callable[..., Any]


class _Parameter(NamedTuple):
    """A parameter of the handler: the key of its text in the request, and FastAPI's validator for it."""

    name: str
    key: str
    validate: Callable[..., Any]
    default: Any = PydanticUndefined


class _Dependency(NamedTuple):
    name: str | None
    """The handler's parameter for the result. The dependency of a router has none."""
    call: Callable[..., Awaitable[Any]]
    takes_request: bool


class PlainRoute:
    """A route that does not need FastAPI's own routing.

    Args:
        context: the route as FastAPI's routing sees it; `plain_conditions.is_plain` holds for it.
    """

    def __init__(self, context: Any) -> None:
        dependant = context.dependant
        parts = context.path_format.split("/")
        self.segments = len(parts)
        self.texts = [(place, part) for place, part in enumerate(parts) if not part.startswith("{")]
        fields = {field.alias: field for field in dependant.path_params}
        # All parameters of the path: a dependency may read one from `request.path_params`.
        self.path = [
            _Path(
                key,
                parts.index(f"{{{key}}}"),
                convertor.convert,
                fields[key].name if key in fields else None,
                _validator(fields[key]) if key in fields else str,
            )
            for key, convertor in context.param_convertors.items()
        ]
        self.query = [
            _Parameter(field.name, field.alias, _validator(field), default_of(field))
            for field in dependant.query_params
        ]
        self.body = [_Parameter(field.name, field.alias, _validator(field)) for field in dependant.body_params]
        self.dependencies = [
            _Dependency(dependency.name, *_by_position(dependency.call, dependency.request_param_name))
            for dependency in dependant.dependencies
        ]
        self.request_name = dependant.request_param_name
        self.response_name = dependant.response_param_name
        self.needs_request = bool(self.request_name or any(each.takes_request for each in self.dependencies))
        self.endpoint = context.endpoint
        self.original = context.original_route
        self.path_format = context.path_format
        self.status = context.status_code or 200
        self.field = context.response_field
        adapter = self.field._type_adapter
        self.validate, self.to_json = adapter.validator.validate_python, adapter.serializer.to_json

    def enter(self, scope: Scope, segments: list[str]) -> dict[str, Any] | None:
        """The arguments from path and query. Writes into the scope what FastAPI's routing would write.

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
                values.update(self._query_arguments(scope.get("query_string", b"")))
        except ValueError:  # also pydantic's ValidationError
            return None
        scope["path_params"] = texts
        scope["route"] = self.original
        scope["endpoint"] = self.endpoint
        scope[TEMPLATE] = self.path_format
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

    def _query_arguments(self, query_string: bytes) -> Iterator[tuple[str, Any]]:
        query = dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)) if query_string else {}
        for name, key, validate, default in self.query:
            if key in query:
                yield name, validate(query[key], from_attributes=True)
            elif default is PydanticUndefined:
                raise ValueError
            else:
                yield name, default

    async def response(self, arguments: dict[str, Any], request: Request | None) -> ASGIApp | JSONAnswer:
        """Run the dependencies and the handler, and make the answer."""
        for name, call, takes_request in self.dependencies:
            result = await (call(request) if takes_request else call())
            if name is not None:
                arguments[name] = result
        if self.request_name:
            arguments[self.request_name] = request
        given = None
        if self.response_name:
            given = arguments[self.response_name] = CapturedHeaders()
        result = await self.endpoint(**arguments)
        if isinstance(result, Response):
            return result
        try:
            value = self.validate(result, from_attributes=True)
        except ValidationError:
            await self._refuse_result(result, request)
            raise
        body = self.to_json(value, by_alias=True)
        if given is None:
            return JSONAnswer(self.status, body, [])
        if given.status_code:
            return with_status(given.status_code, body, given.raw_headers)
        return JSONAnswer(self.status, body, given.raw_headers)

    async def _refuse_result(self, result: Any, request: Request | None) -> None:
        """Raise FastAPI's error. An application can have a handler for it."""
        endpoint = _extract_endpoint_context(self.endpoint)
        if request is not None:
            endpoint["path"] = f"{request.method} {self.path_format}"
        await serialize_response(field=self.field, response_content=result, endpoint_ctx=endpoint)


def _is_plain_json(headers: list[tuple[bytes, bytes]]) -> bool:
    """Exactly `application/json`. A request with another content type goes to FastAPI."""
    for name, value in headers:
        if name == b"content-type":
            return value == b"application/json"
    return False


def _by_position(call: Callable[..., Any], request_name: str | None) -> tuple[Callable[..., Any], bool]:
    """The dependency, so that it takes the request by position, and whether it takes the request.

    Naming the argument costs as much again as the call. A dependency that takes nothing by position gets it by name.
    """
    if request_name is None:
        return call, False
    first = next(iter(signature(call, follow_wrapped=False).parameters.values()))
    if first.name == request_name and first.kind is not Parameter.KEYWORD_ONLY:
        return call, True
    return lambda request: call(**{request_name: request}), True


def _validator(field: Any) -> Callable[..., Any]:
    validate: Callable[..., Any] = field._type_adapter.validator.validate_python
    return validate

"""Plain requests to plain routes, without what FastAPI does for all the others.

FastAPI's way from a matched request to bytes costs more than the query itself (`make benchmark` measures both). Most
requests need none of it: path and query parameters, at most one JSON body, `async` dependencies that take nothing or
the request, and a response model. For such routes this middleware does the same steps with FastAPI's own compiled
validators and serialisers, and nothing else.

It decides nothing by itself. A route that uses anything else is left to FastAPI, and so is every request that does not
validate, before its handler has run: what is refused, FastAPI refuses. The tests run both ways and compare the bytes.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from inspect import iscoroutinefunction
from types import NoneType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request, Response, params
from fastapi._compat import is_scalar_field
from fastapi.datastructures import DefaultPlaceholder
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic_core import PydanticUndefined, from_json
from starlette.convertors import StringConvertor
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.paths import SegmentConvertor

_ERROR = "app.error"
_SEGMENTS = (StringConvertor, SegmentConvertor)
_JSON = (b"content-type", b"application/json")


class FastRoutes:
    """ASGI middleware, to be added first, so that it stands right before FastAPI's own routing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._routes: dict[tuple[str, int], list[_Route]] | None = None
        self._failed: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        app: FastAPI = scope["app"]
        if self._routes is None:
            self._routes = _table(app)
            self._failed = ExceptionMiddleware(_raise, handlers=dict(app.exception_handlers))
        segments = scope["path"].split("/")
        route = _match(self._routes.get((scope["method"], len(segments)), ()), segments)
        if route is None or app.dependency_overrides or scope.get("root_path"):
            await self._app(scope, receive, send)
            return
        response = self._app
        try:
            if route.body:
                body = await _read(receive)
                receive = _again(body, receive)
            else:
                body = b""
            arguments = route.arguments(segments, scope, body)
            if arguments is not None:
                response = await route.response(arguments, scope, receive)
        except Exception as error:
            scope[_ERROR] = error
            response = self._failed
        await response(scope, receive, send)


class _Parameter(NamedTuple):
    """One of the handler's parameters: where its text stands, and FastAPI's validator for it."""

    name: str
    key: Any
    convert: Callable[[Any], Any]
    validate: Callable[..., Any]
    default: Any = PydanticUndefined


class _Dependency(NamedTuple):
    name: str | None
    """The handler's parameter; a router's dependency has none."""
    call: Callable[..., Awaitable[Any]]
    request: str | None


class _Route:
    """What `context`, a route as FastAPI sees it, needs for each request."""

    def __init__(self, context: Any) -> None:
        dependant = context.dependant
        parts = context.path_format.split("/")
        self.segments = len(parts)
        self.texts = [(place, part) for place, part in enumerate(parts) if not part.startswith("{")]
        self.path = [
            _Parameter(
                field.name,
                parts.index(f"{{{field.alias}}}"),
                context.param_convertors[field.alias].convert,
                _validator(field),
            )
            for field in dependant.path_params
        ]
        self.query = [
            _Parameter(field.name, field.alias, str, _validator(field), _default(field))
            for field in dependant.query_params
        ]
        self.body = [_Parameter(field.name, None, str, _validator(field)) for field in dependant.body_params]
        self.dependencies = [
            _Dependency(dependency.name, dependency.call, dependency.request_param_name)
            for dependency in dependant.dependencies
        ]
        self.request_name = dependant.request_param_name
        self.response_name = dependant.response_param_name
        self.needs_request = bool(self.request_name or any(dependency.request for dependency in self.dependencies))
        self.endpoint = context.endpoint
        self.original = context.original_route
        self.status = context.status_code or 200
        adapter = context.response_field._type_adapter
        self.validate, self.to_json = adapter.validator.validate_python, adapter.serializer.to_json

    def arguments(self, segments: list[str], scope: Scope, body: bytes) -> dict[str, Any] | None:
        """The handler's arguments; None when FastAPI has to say what is wrong with the request."""
        texts: dict[str, str] = {}
        values: dict[str, Any] = {}
        try:
            for name, place, convert, validate, _ in self.path:
                if not segments[place]:
                    return None
                texts[name] = text = convert(segments[place])
                values[name] = validate(text, from_attributes=True)
            if self.query:
                values.update(self._query_arguments(scope["query_string"]))
            if self.body:
                if not body or not _is_json(scope["headers"]):
                    return None
                parameter = self.body[0]
                values[parameter.name] = parameter.validate(from_json(body, allow_inf_nan=False), from_attributes=True)
        except ValueError:  # also pydantic's ValidationError
            return None
        scope["path_params"] = texts
        return values

    def _query_arguments(self, query_string: bytes) -> Iterator[tuple[str, Any]]:
        query = dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)) if query_string else {}
        for name, key, _, validate, default in self.query:
            if key in query:
                yield name, validate(query[key], from_attributes=True)
            elif default is PydanticUndefined:
                raise ValueError
            else:
                yield name, default

    async def response(self, arguments: dict[str, Any], scope: Scope, receive: Receive) -> ASGIApp:
        """Run the handler; returns what it answers."""
        scope["route"], scope["endpoint"] = self.original, self.endpoint
        request = Request(scope, receive) if self.needs_request else None
        for name, call, request_name in self.dependencies:
            result = await (call(**{request_name: request}) if request_name else call())
            if name is not None:
                arguments[name] = result
        if self.request_name:
            arguments[self.request_name] = request
        headers: list[tuple[bytes, bytes]] = []
        status = self.status
        if self.response_name:
            given = _Given()
            arguments[self.response_name] = given
            result = await self.endpoint(**arguments)
            headers, status = given.raw_headers, given.status_code or status
        else:
            result = await self.endpoint(**arguments)
        if isinstance(result, Response):
            return result
        value = self.validate(result, from_attributes=True)
        return _Answer(status, self.to_json(value, by_alias=True), headers)


class _Given(Response):
    """The handler's `response` parameter, of which only the headers and the status are used."""

    def __init__(self) -> None:
        self.status_code = 0
        self.raw_headers = []


class _Answer:
    """A JSON response that is ready to be sent."""

    def __init__(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.body = body
        self.headers = [(b"content-length", b"%d" % len(body)), _JSON, *headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def _match(routes: Iterable[_Route], segments: list[str]) -> _Route | None:
    for route in routes:
        for place, text in route.texts:
            if segments[place] != text:
                break
        else:
            return route
    return None


def _table(app: FastAPI) -> dict[tuple[str, int], list[_Route]]:
    """The plain routes by method and number of segments, without those that an earlier route could answer."""
    table: dict[tuple[str, int], list[_Route]] = {}
    earlier: list[Any] = []
    for context in iter_route_contexts(app.routes):
        if _is_plain(context) and not any(_overlap(context, other) for other in earlier):
            route = _Route(context)
            for method in context.methods or ():
                table.setdefault((method, route.segments), []).append(route)
        earlier.append(context)
    return table


def _is_plain(context: Any) -> bool:
    """Whether the route uses only what `_Route` knows."""
    if not isinstance(context.original_route, APIRoute):
        return False
    dependant = context.dependant
    return (
        iscoroutinefunction(context.endpoint)
        and context.response_field is not None
        and isinstance(context.response_class, DefaultPlaceholder)
        and context.max_body_size is None
        and context.status_code not in (204, 205, 304)
        and not (context.response_model_include or context.response_model_exclude)
        and not (context.response_model_exclude_unset or context.response_model_exclude_defaults)
        and not context.response_model_exclude_none
        and context.response_model_by_alias
        and _is_whole_segments(context)
        and all(_is_whole_segment(part) for part in context.path_format.split("/"))
        and not (dependant.header_params or dependant.cookie_params)
        and not _special_parameters(dependant)
        and all(_is_text(field) for field in (*dependant.path_params, *dependant.query_params))
        and len(dependant.body_params) <= 1
        and (not dependant.body_params or _is_json_body(context))
        and all(_is_plain_dependency(dependency) for dependency in dependant.dependencies)
        # FastAPI runs the same function once for a request, however often it is depended on.
        and len({dependency.call for dependency in dependant.dependencies}) == len(dependant.dependencies)
    )


def _is_plain_dependency(dependant: Any) -> bool:
    """An `async` function of nothing or the request."""
    return (
        iscoroutinefunction(dependant.call)
        and not _special_parameters(dependant)
        and dependant.response_param_name is None
        and dependant.concurrency is None
        and not dependant.dependencies
        and not (dependant.path_params or dependant.query_params or dependant.header_params)
        and not (dependant.cookie_params or dependant.body_params)
    )


def _special_parameters(dependant: Any) -> bool:
    return bool(
        dependant.websocket_param_name
        or dependant.http_connection_param_name
        or dependant.background_tasks_param_name
        or dependant.security_scopes_param_name
    )


def _is_text(field: Any) -> bool:
    """A parameter that is made from one text, and whose default can be shared between requests."""
    return (
        is_scalar_field(field)
        and field.validation_alias in (None, field.alias)
        and not field.field_info.validate_default
        and isinstance(_default(field), str | int | float | NoneType | type(PydanticUndefined))
    )


def _is_json_body(context: Any) -> bool:
    field_info = context.body_field.field_info
    return isinstance(field_info, params.Body) and not isinstance(field_info, params.Form) and not field_info.embed


def _is_whole_segment(part: str) -> bool:
    return part.count("{") == part.count("}") == part.startswith("{") == part.endswith("}")


def _overlap(one: Any, other: Any) -> bool:
    """Whether a request could match both routes."""
    parts, other_parts = one.path_format.split("/"), (getattr(other, "path_format", None) or "{}").split("/")
    if len(parts) != len(other_parts) and _is_whole_segments(other):
        return False
    same_path = all(
        part == other_part or "{" in part + other_part for part, other_part in zip(parts, other_parts, strict=False)
    )
    methods = getattr(other, "methods", None)
    return same_path and (not methods or not methods.isdisjoint(one.methods))


def _is_whole_segments(context: Any) -> bool:
    convertors = getattr(context, "param_convertors", None)
    return convertors is not None and all(isinstance(each, _SEGMENTS) for each in convertors.values())


async def _read(receive: Receive) -> bytes:
    """
    Raises:
        ClientDisconnect: the client left before its body was whole.
    """
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` with a body that has been read already."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again


async def _raise(scope: Scope, receive: Receive, send: Send) -> None:
    # Not kept by the scope, nor by a name here: the error's traceback refers to both, and through them to the body.
    raise scope.pop(_ERROR)


def _is_json(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the body is JSON at first glance; FastAPI looks twice."""
    for name, value in headers:
        if name == b"content-type":
            return value == b"application/json"
    return False


def _validator(field: Any) -> Callable[..., Any]:
    validate: Callable[..., Any] = field._type_adapter.validator.validate_python
    return validate


def _default(field: Any) -> Any:
    return PydanticUndefined if field.field_info.is_required() else field.default

"""Plain requests to plain routes, without what FastAPI does for all the others.

FastAPI's way from a matched request to bytes costs more than the query itself. Most
requests need none of it: path and query parameters, at most one JSON body, `async` dependencies that take nothing or
the request, and a response model. For such routes this middleware does the same steps with FastAPI's own compiled
validators and serialisers, and nothing else.

It decides nothing by itself. A route that uses anything else is left to FastAPI, and so is every request that does not
validate, before its handler has run: what is refused, FastAPI refuses. The tests run both ways and compare the bytes.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from copy import copy
from inspect import iscoroutinefunction, isroutine, unwrap
from types import NoneType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response, params
from fastapi._compat import is_scalar_field
from fastapi.datastructures import DefaultPlaceholder
from fastapi.routing import _extract_endpoint_context, iter_route_contexts, serialize_response
from fastapi.utils import is_body_allowed_for_status_code
from pydantic import ValidationError
from pydantic_core import PydanticUndefined, from_json
from starlette._exception_handler import wrap_app_handling_exceptions
from starlette.convertors import StringConvertor
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from groundwork.fast.known_routes import RoutesSnapshot, is_known, matches_by_path, router_behind
from groundwork.http.bodies import replay_body
from groundwork.http.paths import SegmentConvertor, route_path
from groundwork.http.route_template import TEMPLATE
from groundwork.http.routing import JSONRoute

_ANSWER = "app.answer"
_TELEMETRY = "fastapi.telemetry"
_SEGMENTS = (StringConvertor, SegmentConvertor)
_JSON = (b"content-type", b"application/json")


class FastRoutes:
    """ASGI middleware, to be added first, so that it stands right before FastAPI's own routing.

    Where anything else stands between, every request is left to FastAPI.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._router = router_behind(app)
        self._snapshot = RoutesSnapshot(None)
        self._routes: dict[tuple[str, int], list[_Route]] = {}
        # The application, whose overrides of dependencies a test may replace at any time.
        self._settings: Any = getattr(self._router, "dependency_overrides_provider", None)
        # FastAPI's own layer with the handlers that it had when it was made; FastAPI takes none that are added later.
        handling: Any = copy(app)
        handling.app = _answer_as_fastapi
        self._handling: ASGIApp = handling

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        router = self._router
        if scope["type"] != "http" or router is None:
            await self._app(scope, receive, send)
            return
        if not self._snapshot.is_current():
            self._snapshot = RoutesSnapshot(router)
            self._routes = _table(router)
        path = route_path(scope) if scope.get("root_path") else scope["path"]
        segments = path.split("/")
        route = _match(self._routes.get((scope["method"], len(segments)), ()), segments)
        if route is None or self._settings.dependency_overrides or "path_params" in scope or _TELEMETRY in scope:
            await self._app(scope, receive, send)
            return
        scope["router"] = router
        request: Request | None = None
        body: bytes | None = None
        try:
            arguments = route.enter(scope, segments)
            if arguments is not None and route.body:
                body = await _read(receive)
                arguments = route.with_body(arguments, scope, body)
            if arguments is not None:
                if route.needs_request:
                    request = Request(scope, receive, send)
                    if body is not None:
                        request._body = body
                answer = await route.response(arguments, request)
        except Exception as error:
            arguments = {}
            answer = _raising(error)
        if arguments is None:
            await self._app(scope, receive if body is None else replay_body(body, receive), send)
        elif type(answer) is _Answer or _cannot_fail(answer):
            await answer(scope, receive, send)
        else:
            scope[_ANSWER] = answer, request or _request(scope, receive, send, body)
            await self._handling(scope, receive, send)


async def _answer_as_fastapi(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the answer, or raise its error, where FastAPI's exception handlers see what goes wrong."""
    answer, request = scope.pop(_ANSWER)
    await wrap_app_handling_exceptions(answer, request)(scope, receive, send)


def _raising(error: Exception) -> ASGIApp:
    # Not kept here once it is raised: the error's traceback leads to this function, and to the request and its body.
    errors = [error]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise errors.pop()

    return app


def _cannot_fail(answer: ASGIApp) -> bool:
    """Whether the answer's bytes are all there; a stream, a file or work in the background can still raise."""
    return isinstance(answer, Response) and type(answer).__call__ is Response.__call__ and answer.background is None


def _request(scope: Scope, receive: Receive, send: Send, body: bytes | None) -> Request:
    """What FastAPI hands to exception handlers: its body has been read already."""
    request = Request(scope, receive, send)
    if body is not None:
        request._body = body
    return request


class _Path(NamedTuple):
    """One of the path's parameters: which segment holds it, and the handler's parameter that it is for, if any."""

    key: str
    place: int
    convert: Callable[[str], str]
    name: str | None
    validate: Callable[..., Any]


class _Parameter(NamedTuple):
    """One of the handler's parameters: under which key its text stands, and FastAPI's validator for it."""

    name: str
    key: str
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
        fields = {field.alias: field for field in dependant.path_params}
        # Also those that only a dependency asks for, in `request.path_params`.
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
            _Parameter(field.name, field.alias, _validator(field), _default(field)) for field in dependant.query_params
        ]
        self.body = [_Parameter(field.name, field.alias, _validator(field)) for field in dependant.body_params]
        self.dependencies = [
            _Dependency(dependency.name, dependency.call, dependency.request_param_name)
            for dependency in dependant.dependencies
        ]
        self.request_name = dependant.request_param_name
        self.response_name = dependant.response_param_name
        self.needs_request = bool(self.request_name or any(dependency.request for dependency in self.dependencies))
        self.endpoint = context.endpoint
        self.original = context.original_route
        self.path_format = context.path_format
        self.status = context.status_code or 200
        self.field = context.response_field
        adapter = self.field._type_adapter
        self.validate, self.to_json = adapter.validator.validate_python, adapter.serializer.to_json

    def enter(self, scope: Scope, segments: list[str]) -> dict[str, Any] | None:
        """The arguments from path and query; the scope gets what FastAPI's routing writes into it.

        None when FastAPI has to say what is wrong with the request.
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
        """The arguments and the body's; None as above."""
        if not body or not _is_json(scope["headers"]):
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

    async def response(self, arguments: dict[str, Any], request: Request | None) -> ASGIApp:
        """Run the handler; returns what it answers."""
        for name, call, request_name in self.dependencies:
            result = await (call(**{request_name: request}) if request_name else call())
            if name is not None:
                arguments[name] = result
        if self.request_name:
            arguments[self.request_name] = request
        given = None
        if self.response_name:
            given = arguments[self.response_name] = _CapturedHeaders()
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
            return _Answer(self.status, body, [])
        if given.status_code:
            return _with_status(given.status_code, body, given.raw_headers)
        return _Answer(self.status, body, given.raw_headers)

    async def _refuse_result(self, result: Any, request: Request | None) -> None:
        """Raise FastAPI's error, for which an application can have a handler."""
        endpoint = _extract_endpoint_context(self.endpoint)
        if request is not None:
            endpoint["path"] = f"{request.method} {self.path_format}"
        await serialize_response(field=self.field, response_content=result, endpoint_ctx=endpoint)


class _CapturedHeaders(Response):
    """The handler's `response` parameter, of which only the headers and the status are used."""

    body = b""
    background = None

    def __init__(self) -> None:
        self.status_code = None  # type: ignore[assignment]
        self.raw_headers = []


def _with_status(status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> Response:
    """The answer with a status of the handler's choice, which may be one that allows no body."""
    response = Response(body, status, media_type="application/json")
    if not is_body_allowed_for_status_code(status):
        response.body = b""
    response.raw_headers.extend(headers)
    return response


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


def _table(router: APIRouter) -> dict[tuple[str, int], list[_Route]]:
    """The plain routes by method and number of segments, without those that an earlier route could answer."""
    table: dict[tuple[str, int], list[_Route]] = {}
    earlier: list[Any] = []
    for context in iter_route_contexts(router.routes):
        if _is_plain(context, router) and not any(_overlap(context, other) for other in earlier):
            route = _Route(context)
            for method in context.methods or ():
                table.setdefault((method, route.segments), []).append(route)
        earlier.append(context)
    return table


def _is_plain(context: Any, router: APIRouter) -> bool:
    """Whether the route uses only what `_Route` knows."""
    if not is_known(context):
        return False
    dependant = context.dependant
    return (
        _is_async_function(context.endpoint)
        and dependant.call is context.endpoint
        and context.dependency_overrides_provider is router.dependency_overrides_provider is not None
        and context.response_field is not None
        and isinstance(context.response_class, DefaultPlaceholder)
        and context.max_body_size is None
        and is_body_allowed_for_status_code(context.status_code)
        and not (context.response_model_include or context.response_model_exclude)
        and not (context.response_model_exclude_unset or context.response_model_exclude_defaults)
        and not context.response_model_exclude_none
        and context.response_model_by_alias
        and _is_whole_segments(context)
        and all(_is_whole_segment(part) for part in context.path_format.split("/"))
        and not (dependant.header_params or dependant.cookie_params)
        and not _special_parameters(dependant)
        and all(field.alias in context.param_convertors for field in dependant.path_params)
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
        _is_async_function(dependant.call)
        and not _special_parameters(dependant)
        and dependant.response_param_name is None
        and dependant.concurrency is None
        and not dependant.dependencies
        and not (dependant.path_params or dependant.query_params or dependant.header_params)
        and not (dependant.cookie_params or dependant.body_params)
    )


def _is_async_function(call: Any) -> bool:
    """Whether it is one, and so is what its decorators wrap: FastAPI looks at both."""
    return isroutine(call) and iscoroutinefunction(call) and iscoroutinefunction(unwrap(call))


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
    """Whether the whole body is the one parameter, and read strictly: FastAPI's own class takes NaN, and UTF-16."""
    field_info = context.body_field.field_info
    return (
        type(context.original_route) is JSONRoute
        and isinstance(field_info, params.Body)
        and not isinstance(field_info, params.Form)
        and not context._embed_body_fields
    )


def _is_whole_segment(part: str) -> bool:
    return part.count("{") == part.count("}") == part.startswith("{") == part.endswith("}")


def _overlap(one: Any, other: Any) -> bool:
    """Whether a request could match both routes."""
    if not matches_by_path(other):
        return True
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
    return convertors is not None and all(type(each) in _SEGMENTS for each in convertors.values())


async def _read(receive: Receive) -> bytes:
    """
    Raises:
        ClientDisconnect: the client left before its body was whole.
    """
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            # Not added up one by one: with a body in many small parts, each addition would copy all that came before.
            return b"".join(parts)


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

"""Serves plain requests to plain routes without FastAPI's own routing.

FastAPI's work between a matched request and the bytes of its answer costs more than the query itself. Most routes do
not need all of it: their parameters are texts in path, query and headers, at most one JSON body, and dependencies
without `yield`. For such plain routes this middleware does the same steps, with FastAPI's own compiled validators and
serialisers. `plain_conditions` says which routes are plain.

The middleware refuses nothing by itself. It leaves a request that is not valid to FastAPI, before the handler runs.
It also leaves routes that are not plain to FastAPI, but finds them first, because FastAPI would search for them twice.
The tests send the same requests both ways and compare the bytes.
"""

from copy import copy
from typing import Any

from fastapi import Request
from starlette._exception_handler import wrap_app_handling_exceptions
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from groundwork.fast.answers import JSONAnswer, is_complete, raising
from groundwork.fast.found_route import FoundRoute
from groundwork.fast.known_routes import router_behind
from groundwork.fast.plain_route import PlainRoute
from groundwork.fast.route_table import RouteTable, found_routes, match
from groundwork.http.bodies import replay_body
from groundwork.http.paths import route_path
from groundwork.http.routes_snapshot import RoutesSnapshot

_ANSWER = "app.answer"
_ROUTE = "app.route"
_TELEMETRY = "fastapi.telemetry"


class FastRoutes:
    """ASGI middleware that must be added first, so that it stands right before FastAPI's own routing.

    If another layer stands in between, the middleware leaves every request to FastAPI.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._router = router_behind(app)
        self._snapshot = RoutesSnapshot(None)
        self._routes: RouteTable = {}
        # The application. A test may replace its overrides of dependencies at any time.
        self._settings: Any = getattr(self._router, "dependency_overrides_provider", None)
        # FastAPI's layer with the exception handlers. It ignores handlers that are added later, as FastAPI does.
        handling: Any = copy(app)
        handling.app = _answer_as_fastapi
        self._handling: ASGIApp = handling
        # FastAPI's two layers. Behind them stands the route that was found here, in place of the router.
        own: Any = copy(app)
        if self._router is not None:
            own.app = copy(own.app)
            own.app.app = _call_route
        self._own: ASGIApp = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        router = self._router
        if scope["type"] != "http" or router is None:
            await self._app(scope, receive, send)
            return
        if not self._snapshot.is_current():
            self._snapshot = RoutesSnapshot(router)
            self._routes = found_routes(router)
        path = route_path(scope) if scope.get("root_path") else scope["path"]
        segments = path.split("/")
        route = match(self._routes.get((scope["method"], len(segments)), ()), segments)
        is_elsewhere = "path_params" in scope or _TELEMETRY in scope  # in a mounted application, or with telemetry
        if type(route) is not PlainRoute or self._settings.dependency_overrides or is_elsewhere:
            await self._own_way(None if is_elsewhere else route, scope, segments)(scope, receive, send)
            return
        scope["router"] = router
        request: Request | None = None
        answer: ASGIApp | JSONAnswer | None = None
        body: bytes | None = None
        try:
            arguments = route.enter(scope, segments)
            if arguments is not None and route.body:
                body = await _read(receive)
                arguments = route.with_body(arguments, scope, body)
            if arguments is not None:
                if route.needs_request:
                    request = _request(scope, receive, send, body)
                answer = await route.response(arguments, request)
        except Exception as error:
            answer = raising(error)
        if answer is None:
            await self._app(scope, receive if body is None else replay_body(body, receive), send)
        elif isinstance(answer, JSONAnswer):
            for message in answer.messages:
                await send(message)
        elif is_complete(answer):
            await answer(scope, receive, send)
        else:
            scope[_ANSWER] = answer, request or _request(scope, receive, send, body)
            await self._handling(scope, receive, send)

    def _own_way(self, route: FoundRoute | None, scope: Scope, segments: list[str]) -> ASGIApp:
        """FastAPI's own code. It begins with the route if that is found here, else with FastAPI's search for it."""
        if route is None or not route.enter_route(scope, segments):
            return self._app
        scope["router"] = self._router
        scope[_ROUTE] = route.app
        return self._own


async def _call_route(scope: Scope, receive: Receive, send: Send) -> None:
    await scope.pop(_ROUTE)(scope, receive, send)


async def _answer_as_fastapi(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the answer, or raise its error, inside the layer that calls FastAPI's exception handlers."""
    answer, request = scope.pop(_ANSWER)
    await wrap_app_handling_exceptions(answer, request)(scope, receive, send)


def _request(scope: Scope, receive: Receive, send: Send, body: bytes | None) -> Request:
    """The request, with the body that was read already."""
    request = Request(scope, receive, send)
    if body is not None:
        request._body = body
    return request


async def _read(receive: Receive) -> bytes:
    """The request's body.

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
            # Joined at the end, because adding each part to the earlier ones would copy all of them each time.
            return b"".join(parts)

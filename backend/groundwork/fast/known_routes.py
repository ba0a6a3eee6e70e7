"""Recognises the routes, and the layers before them, that are FastAPI's own.

All others are left to FastAPI, because a class that a team wrote may refuse a request in any of its methods.
"""

from collections.abc import Iterator
from operator import is_
from typing import Any

from fastapi import APIRouter
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute, APIWebSocketRoute, request_response
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp

from groundwork.http.routing import JSONRoute

_CLASSES = (APIRoute, JSONRoute)
_OVERRIDABLE = frozenset({"matches", "handle", "get_route_handler"})
_MATCH_BY_PATH = frozenset({each.matches for each in (APIRoute, APIWebSocketRoute, Mount, Route, WebSocketRoute)})


def _handler(_: Any) -> Any:
    """Any handler, to look at FastAPI's wrapper around it."""


# All functions that `request_response` returns have the same code object. A function of a team has another.
_FASTAPIS_OWN: Any = request_response(_handler)


def router_behind(app: ASGIApp) -> APIRouter | None:
    """FastAPI's router, if only FastAPI's own two layers stand before it. Another layer could refuse a request."""
    exit_stack = getattr(app, "app", None)
    router = getattr(exit_stack, "app", None)
    if type(app) is not ExceptionMiddleware or type(exit_stack) is not AsyncExitStackMiddleware:
        return None
    if type(router) is not APIRouter or router.middleware_stack != router.app:
        return None
    return router


def is_known(context: Any) -> bool:
    """Whether only FastAPI's own code runs between the route and its endpoint."""
    route = context.original_route
    return (
        type(route) in _CLASSES
        and _OVERRIDABLE.isdisjoint(vars(route))
        and getattr(context.app, "__code__", None) is _FASTAPIS_OWN.__code__
    )


def matches_by_path(context: Any) -> bool:
    """Whether the route's path and methods alone say which requests it takes."""
    route = context.original_route
    return type(route).matches in _MATCH_BY_PATH and "matches" not in vars(route)


class RoutesSnapshot:
    """The routes of a router and of the routers that it includes, as they were when this was made."""

    def __init__(self, router: APIRouter | None) -> None:
        self._router = router
        self._routes = list(router.routes) if router else []
        self._included = [(each, each._routes_version) for each in _included_routers(router)] if router else []

    def is_current(self) -> bool:
        """Whether FastAPI would find the same routes now."""
        if self._router is None:
            return False
        routes = self._router.routes
        # By identity: two routes are equal if their paths, endpoints and methods are, but other options may differ.
        if len(routes) != len(self._routes) or not all(map(is_, routes, self._routes)):
            return False
        for router, version in self._included:  # noqa: SIM110 - a loop is faster, and this runs for each request
            if router._routes_version != version:
                return False
        return True


def _included_routers(router: APIRouter) -> Iterator[APIRouter]:
    for route in router.routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield included
            yield from _included_routers(included)

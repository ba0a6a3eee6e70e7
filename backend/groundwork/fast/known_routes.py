"""Recognises the routes, and the layers before them, that are FastAPI's own.

All others are left to FastAPI, because a class that a team wrote may refuse a request in any of its methods.
"""

from typing import Any

from fastapi import APIRouter
from fastapi._body_limit import AppBodyLimitMiddleware
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute, APIWebSocketRoute, request_response
from fastapi.telemetry._asgi import ExceptionTelemetryMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp

from groundwork.http.routing import JSONRoute

# `RequestMiddleware` answers for defects and limits bodies already, and telemetry is off. Each layer has its cost.
_NEEDLESS_LAYERS = (ServerErrorMiddleware, ExceptionTelemetryMiddleware, AppBodyLimitMiddleware)
_CLASSES = (APIRoute, JSONRoute)
_OVERRIDABLE = frozenset({"matches", "handle", "get_route_handler"})
_MATCH_BY_PATH = frozenset({each.matches for each in (APIRoute, APIWebSocketRoute, Mount, Route, WebSocketRoute)})


def _handler(_: Any) -> Any:
    """Any handler, to look at FastAPI's wrapper around it."""


# All functions that `request_response` returns have the same code object. A function of a team has another.
_FASTAPIS_OWN: Any = request_response(_handler)


def without_needless_layers(layer: ASGIApp) -> ASGIApp:
    """The first of FastAPI's outer layers that an `Application` needs."""
    while isinstance(layer, _NEEDLESS_LAYERS):
        layer = layer.app
    return layer


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

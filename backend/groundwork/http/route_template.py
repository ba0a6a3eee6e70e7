"""The route that a request matches, and its template, for log, metrics and traces.

Paths would show users' ids there, and there is no limit to the number of paths.
"""

from collections.abc import Sequence
from typing import Any

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

TEMPLATE = "app.route_template"
"""The key of the scope under which `fast.fast_routes` stores the template that it matched."""
REST = "/{path}"
"""The end of the template of every mount."""


def route_template(scope: Scope, app: Any) -> str:
    """The whole template, with the prefixes of included routers and mounts; "" if no route matched.

    Since FastAPI 0.137, `scope["route"]` lacks the prefixes of `include_router`. FastAPI's route context has them.
    """
    if TEMPLATE in scope:
        return str(scope[TEMPLATE])
    route = scope.get("route")
    if route is None or "app_root_path" in scope:
        return _find(scope, app) if "endpoint" in scope else ""
    context = scope["fastapi"].get("effective_route_context") if "fastapi" in scope else None
    if context is not None and context.original_route is route:
        return str(context.path_format)
    return getattr(route, "path_format", "")


def find_route(scope: Scope) -> Any:
    """FastAPI's context of the route that matches the path and the method; None if no route matches."""
    contexts = iter_route_contexts(scope["app"].routes)
    return next((context for context in contexts if context.matches(scope)[0] is Match.FULL), None)


def _find(scope: Scope, app: Any) -> str:
    """The template of a mounted application or a plain function. Starlette stores no route in the scope for these."""
    root_path = scope.get("app_root_path", scope.get("root_path", ""))
    return _template(app.routes, scope["method"], scope["path"].removeprefix(root_path))


def _template(routes: Sequence[BaseRoute], method: str, path: str) -> str:
    for context in iter_route_contexts(routes):
        pattern, methods = getattr(context, "path_regex", None), getattr(context, "methods", None)
        match = pattern.match(path) if pattern else None
        if match is None or (methods and method not in methods):
            continue
        below = getattr(context, "routes", None)
        if below is None:
            return context.path_format or ""
        rest = _template(below, method, f"/{match['path']}") or REST
        return f"{(context.path_format or '').removesuffix(REST)}{rest}"
    return ""

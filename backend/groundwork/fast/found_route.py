"""A route that is found by the segments of its path, and served by FastAPI's own code from there."""

from typing import Any

from starlette.types import ASGIApp, Scope

from groundwork.http.route_template import TEMPLATE


class FoundRoute:
    """A route that is served without FastAPI's search for it.

    In an included router, FastAPI searches twice: once to match the request, and once to handle it.

    Args:
        context: the route as FastAPI's routing sees it; `may_be_found` is true for it.
    """

    def __init__(self, context: Any) -> None:
        parts = context.path_format.split("/")
        self.segments = len(parts)
        self.texts = [(place, part) for place, part in enumerate(parts) if not part.startswith("{")]
        self.convertors = [
            (key, parts.index(f"{{{key}}}"), convertor.convert) for key, convertor in context.param_convertors.items()
        ]
        self.app: ASGIApp = context.app
        self.endpoint = context.endpoint
        self.original = context.original_route
        self.path_format = context.path_format
        # Only for a route of an included router, FastAPI has a separate description.
        effective = context._effective_route
        self._scope = None if effective is self.original else {"effective_route_context": effective}

    def enter_route(self, scope: Scope, segments: list[str]) -> bool:
        """Write into the scope what FastAPI's routing would write. Returns False if the path does not match."""
        texts: dict[str, str] = {}
        for key, place, convert in self.convertors:
            if not segments[place]:
                return False
            texts[key] = convert(segments[place])
        self.write(scope, texts)
        if self._scope is not None:
            scope.setdefault("fastapi", {}).update(self._scope)
        return True

    def write(self, scope: Scope, texts: dict[str, str]) -> None:
        scope["path_params"] = texts
        scope["route"] = self.original
        scope["endpoint"] = self.endpoint
        scope[TEMPLATE] = self.path_format

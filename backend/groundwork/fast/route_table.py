"""Finds the route that a request's path matches."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from fastapi.routing import iter_route_contexts

from groundwork.fast.found_route import FoundRoute
from groundwork.fast.known_routes import matches_by_path
from groundwork.fast.plain_conditions import has_whole_segments, may_be_found, why_not_plain
from groundwork.fast.plain_route import PlainRoute

RouteTable = dict[tuple[str, int], list[FoundRoute]]
"""Routes by their method and the number of segments of their path."""


def found_routes(router: APIRouter) -> RouteTable:
    """The routes that can be found by their segments, without those whose requests an earlier route could answer."""
    table: RouteTable = {}
    earlier: list[Any] = []
    for context in iter_route_contexts(router.routes):
        if may_be_found(context) and not any(overlap(context, other) for other in earlier):
            route = PlainRoute(context) if why_not_plain(context, router) is None else FoundRoute(context)
            for method in context.methods or ():
                table.setdefault((method, route.segments), []).append(route)
        earlier.append(context)
    return table


def match(routes: Iterable[FoundRoute], segments: list[str]) -> FoundRoute | None:
    """The first route whose fixed segments are equal to those of the path."""
    for route in routes:
        for place, text in route.texts:
            if segments[place] != text:
                break
        else:
            return route
    return None


def overlap(one: Any, other: Any) -> bool:
    """Whether a request could match both routes. `one` may be found by its segments, and `other` is of any kind."""
    if not matches_by_path(other):
        return True
    parts, other_parts = one.path_format.split("/"), (getattr(other, "path_format", None) or "{}").split("/")
    if len(parts) != len(other_parts) and has_whole_segments(other):
        return False
    same_path = all(
        part == other_part or "{" in part + other_part for part, other_part in zip(parts, other_parts, strict=False)
    )
    methods = getattr(other, "methods", None)
    return same_path and (not methods or not methods.isdisjoint(one.methods))
